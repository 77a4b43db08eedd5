"""The tab of the probe library: the list, what a probe has seen, one event, keys on a live target; and `show`."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

from gotriage.catalog import view
from gotriage.probes.library import PROBES
from gotriage.records.probes import (
    Bucket,
    ProbeCount,
    ProbeEvent,
    ProbeEvents,
    ProbeHistogram,
    Probes,
    ProbeState,
    ProbeTables,
)
from gotriage.records.tracing import Trace, Traces
from gotriage.render.probes import events, json_lines, lines

from tests.ui import made
from tests.ui.screens import LARGE, drive, shown, text

AT = made.START + timedelta(seconds=9)
STACK = ("syscall.forkExec", "os/exec.(*Cmd).Run", "main.runHook")
BEGUN = ProbeEvent(
    probe="execs", number=1, at=AT, pid=77, what="bash -c 'exit 3'", goroutine=41, by=STACK[2], stack=STACK
)  # fmt: skip
ENDED = ProbeEvent(
    probe="execs", number=1, at=AT, pid=77, what="bash -c 'exit 3'", goroutine=41, by=STACK[2], stack=STACK,
    result="exit 3", failed=True, took=0.052,
)  # fmt: skip
NAMES = "execs,run-queue"


def library(**states):
    rows = [
        ProbeState(
            id=probe.id, title=probe.title, group=probe.group, price=probe.price, shows=probe.shows, about=probe.about,
            **states.get(probe.id, {"backend": "libbpf"}),
        )
        for probe in PROBES
    ]  # fmt: skip
    return Probes(at=AT, rows=tuple(rows))


STATES = {
    "execs": {"state": "on", "backend": "libbpf", "events": 2, "lost": 7, "omitted": 12},
    "panics": {"state": "unavailable", "reason": "the target is no Go program"},
}
TABLES = ProbeTables(
    at=AT,
    rows=(ProbeCount(probe="run-queue", name="all threads", count=1303, rate=434.3, total=0.168, most=0.016),),
    histograms=(
        ProbeHistogram(
            probe="run-queue",
            name="",
            buckets=(Bucket(low=0.0, high=2.05e-6, count=900), Bucket(low=2.05e-6, high=4.1e-6, count=403)),
        ),
    ),
)


def session(*, empty=False):
    found = made.session(10)
    trace = Trace(source="probes", state="running", backend="libbpf", options={} if empty else {"probe": NAMES})
    found.feed(Traces(at=AT, rows=(trace,)))
    found.feed(library() if empty else library(**STATES))
    if not empty:
        for record in (ProbeEvents(at=AT, rows=(BEGUN,)), ProbeEvents(at=AT, rows=(ENDED,)), TABLES):
            found.feed(record)
    return found


def screen(*keys, size=(80, 24)):
    return shown(made.front(session()), "B", *keys, size=size)


def test_the_library_with_price_backend_and_state():
    seen = screen()
    for words in ("Program starts", "process", "light", "libbpf", "2 probes on: Program starts, Run queue"):
        assert words in seen, seen
    wide = screen(size=LARGE)
    assert "heavy" in wide and "the target is no Go program" in wide and "unavailable" in wide


def test_what_a_probe_has_seen_and_one_event():
    seen = screen("enter", size=(100, 30))
    for words in ("7 lost", "12 came too fast", "bash -c 'exit 3'", "exit 3", "52ms", "main.runHook"):
        assert words in seen, seen
    assert seen.count("bash -c") == 1
    seen = screen("enter", "enter", size=(100, 30))
    assert "Stack of who asked for it" in seen and "os/exec.(*Cmd).Run" in seen


def test_a_histogram_and_its_table():
    at = [probe.id for probe in PROBES].index("run-queue")
    front = made.front(session())

    async def use(app, pilot):
        await pilot.press("B")
        tab = app.screen.tab
        rows = [row.id for row in tab.rows(tab.record)]
        for _ in range(rows.index("run-queue")):
            await pilot.press("j")
        await pilot.press("enter")
        await pilot.pause()
        return text(app)

    seen = drive(front, use, (100, 30))
    assert at
    for words in ("under  2.0µs", "━━━", "900", "1,303", "all threads"):
        assert words.replace("  ", " ") in seen.replace("  ", " "), seen


class Link:
    """Notes what is asked of the agent."""

    def __init__(self):
        self.asked = []

    def request(self, op, collectors=(), **more):
        self.asked.append((op, more.get("options", {})))
        return len(self.asked)


def pressed(*keys, file=None, empty=False):
    front = made.front(session(empty=empty))
    link = Link()

    async def use(app, pilot):
        front.link = link
        await pilot.press("B")
        await pilot.pause()
        tab = app.screen.tab
        if file is not None:
            tab._own(str(file))
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        return text(app)

    seen = drive(front, use)
    return SimpleNamespace(seen=seen, asked=[one for one in link.asked if one[0] in ("start", "finish", "price")])


def test_one_key_starts_and_stops_the_probe_under_the_cursor():
    assert pressed("s").asked[-1] == ("start", {"probe": "run-queue"})
    assert pressed("j", "s").asked[-1] == ("start", {"probe": "execs,run-queue,signals"})
    assert pressed("s", empty=True).asked[-1] == ("start", {"probe": "execs"})


def test_a_program_of_ones_own(tmp_path):
    file = tmp_path / "mine.bt"
    file.write_text("BEGIN { }")
    assert pressed(file=file).asked[-1] == ("start", {"probe": f"{NAMES},script", "script": "BEGIN { }"})
    file.write_text("import bcc\n")
    assert "Python is not run as root" in pressed(file=file).seen
    assert "no such file" in pressed(file=tmp_path / "none").seen.lower()


def test_show_prints_events_counts_and_histograms():
    found = session()
    said = "\n".join(lines(found, view("probes").columns, None))
    for words in ("bash -c 'exit 3'", "exit 3", "7 lost", "all threads", "####"):
        assert words in said
    kinds = list(json_lines(found))
    assert [("what" in line, "count" in line) for line in kinds] == [(True, False), (False, True), (False, True)]
    assert len(events(found)) == 1
    library_text = "\n".join(lines(session(empty=True), view("probes").columns, None))
    assert "Program starts" in library_text and "heavy" in library_text
