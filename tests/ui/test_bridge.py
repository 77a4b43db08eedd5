"""From the stream to the screen: batches, one message a type, the stream's end, and an agent that does not answer."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from gotriage.errors import TargetError
from gotriage.host import clock
from gotriage.records.process import ProcessSample
from gotriage.records.stream import Gap
from gotriage.records.target import Event
from gotriage.session.store import Session
from gotriage.ui.app import GotriageApp
from gotriage.ui.bridge import Arrived

from tests.ui import made
from tests.ui.screens import text


class FakeLink:
    """A link that hands out what the test puts in."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._ready: list = []
        self._over = False
        self._error: Exception | None = None
        self.closed = False

    def put(self, *records) -> None:
        with self._lock:
            self._ready += records
            self._lock.notify()

    def finish(self, error: Exception | None = None) -> None:
        with self._lock:
            self._over, self._error = True, error
            self._lock.notify()

    def poll(self, timeout):
        with self._lock:
            if not self._ready and not self._over:
                self._lock.wait(timeout)
            if self._ready:
                taken, self._ready = self._ready, []
                return taken
            if not self._over:
                return []
            if self._error is not None:
                raise self._error
            return None

    def request(self, op, **fields):
        return 1

    def close(self):
        self.closed = True


def live(use):
    """The app on a fake link."""
    link = FakeLink()
    front = made.Judged(Session(), link)

    async def run():
        app = GotriageApp(front)
        async with app.run_test(size=(80, 24)) as pilot:
            return await use(app, pilot, link)

    return asyncio.run(run())


async def until(pilot, condition):
    for _ in range(500):
        await pilot.pause(0.02)
        if condition():
            return
    raise AssertionError("it did not come")


def test_records_reach_the_session_and_the_screen():
    async def use(app, pilot, link):
        link.put(*made.records(5))
        await until(pilot, lambda: "LIVE" in text(app) and made.NAME in text(app))
        await pilot.press("2")
        await until(pilot, lambda: "614" in text(app))
        return len(app.front.session.series(ProcessSample))

    assert live(use) == 5


def test_one_message_a_type_and_few_batches(monkeypatch):
    seen = []

    async def use(app, pilot, link):
        post = app.post_message

        def counted(message):
            if isinstance(message, Arrived):
                seen.extend(message.kinds)
            return post(message)

        monkeypatch.setattr(app, "post_message", counted)
        begun = clock.monotonic()
        for record in made.records(120):
            link.put(record)
        await until(pilot, lambda: app.front.session.latest(ProcessSample) is not None)
        await until(pilot, lambda: not app._bridge._waiting)
        return clock.monotonic() - begun

    took = live(use)
    assert seen.count(ProcessSample) <= 2 * (took / 0.1 + 1)


def test_the_screens_go_on_while_a_flood_comes():
    async def use(app, pilot, link):
        samples = [ProcessSample(at=made.START, processes=1, threads=n) for n in range(60_000)]
        link.put(*made.beginning(), *samples)
        await pilot.press("2")
        seen = app.screen.active
        await until(pilot, lambda: app.front.session.latest(ProcessSample) is samples[-1])
        return seen

    assert live(use) == "overview"


def test_pausing_stops_the_view_and_not_the_stream():
    async def use(app, pilot, link):
        link.put(*made.records(5))
        await until(pilot, lambda: made.NAME in text(app))
        await pilot.press("2", "space")
        for number in range(5, 20):
            link.put(*made.second(number))
        await until(pilot, lambda: app.front.session.last > app.front.session.cursor)
        await pilot.pause(0.3)
        paused = text(app)
        await pilot.press("f")
        await until(pilot, lambda: "666" in text(app))
        return paused

    paused = live(use)
    assert "PAUSED" in paused
    assert "614" in paused


def test_an_agent_that_does_not_answer_is_said_until_it_does():
    async def use(app, pilot, link):
        link.put(
            *made.records(2), Gap(at=made.START, source="agent", reason="the agent did not answer for 5 s, restarting")
        )
        await until(pilot, lambda: "the agent did not answer for 5 s" in text(app).splitlines()[2])
        link.put(Gap(at=made.START, source="agent", closed=True))
        await until(pilot, lambda: "did not answer" not in text(app).splitlines()[2])
        link.put(
            Event(at=made.START + timedelta(seconds=9), what="agent-restarted", detail="the agent was started anew")
        )
        await until(pilot, lambda: "agent-restarted: the agent was started anew" in text(app).splitlines()[-1])

    live(use)


@pytest.mark.parametrize("error", [None, TargetError("no process 4242")])
def test_the_end_of_the_stream_is_said_and_what_was_seen_stays(error):
    async def use(app, pilot, link):
        link.put(*made.records(3))
        await until(pilot, lambda: made.NAME in text(app))
        link.finish(error)
        await until(pilot, lambda: "ENDED" in text(app))
        return text(app)

    seen = live(use)
    assert ("no process 4242" if error else "not looked at any more") in seen.splitlines()[2]
    assert made.NAME in seen


def test_quitting_does_not_wait_for_a_link_that_hangs():
    async def use(app, pilot, link):
        link.poll = lambda timeout: threading.Event().wait(30)
        await pilot.pause(0.3)
        begun = clock.monotonic()
        await pilot.press("q")
        return begun

    begun = live(use)
    assert clock.monotonic() - begun < 20
