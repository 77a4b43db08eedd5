"""Without a target: the Go services of the machine, and what choosing one attaches to."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from gotriage.records.target import GoService, GoServices, TargetSpec
from gotriage.session.store import Session
from gotriage.ui.app import GotriageApp
from gotriage.ui.front import Front
from gotriage.ui.screens.picker import spec_of
from gotriage.ui.widgets.table import BigTable

from tests.ui import made
from tests.ui.screens import lines, text

UNIT = GoService(
    pid=7, name="orders-api", unit="orders-api.service", go_version="go1.24.3", age=90.0, cpu=0.5, memory_bytes=9 << 20,
    fds=1000, fd_limit=1024, mark="fd-exhaustion", user="orders",
)  # fmt: skip
BOX = GoService(pid=8, name="web-1", container="web-1", go_version="go1.22.1")
HELPER = GoService(pid=9, name="worker", unit="orders-api.service")


@pytest.mark.parametrize(
    ("row", "spec"),
    [
        (UNIT, TargetSpec(kind="unit", value="orders-api.service")),
        (BOX, TargetSpec(kind="container", value="web-1")),
        (HELPER, TargetSpec(kind="pid", value="9")),
    ],
    ids=["unit", "container", "process"],
)
def test_what_a_row_stands_for(row, spec):
    assert spec_of(row) == spec


def picker(use, *rows, size=(80, 24)):
    session = Session()
    if rows:
        session.feed(GoServices(at=made.START, rows=rows, skipped=3))
    front = Front(session)

    async def run():
        app = GotriageApp(front, picker=True)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            return await use(app, pilot), front

    return asyncio.run(run())


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=str)
def test_the_services_are_listed(size):
    async def use(app, pilot):
        return text(app)

    seen, _ = picker(use, UNIT, BOX, size=size)
    for words in (
        "2 Go services",
        "▲ fd-exhaustion",
        "⊘ not readable: 3",
        "orders-api",
        "go1.24.3",
        "1m30s",
        "1,000",
        "web-1",
    ):
        assert words in seen, seen


def test_enter_chooses():
    async def use(app, pilot):
        await pilot.press("j", "enter")
        await pilot.pause()
        return app.return_value

    status, front = picker(use, UNIT, BOX)
    assert status == 0
    assert front.picked == TargetSpec(kind="container", value="web-1")


def test_quitting_chooses_nothing():
    async def use(app, pilot):
        await pilot.press("q")

    assert picker(use, UNIT)[1].picked is None


def test_a_machine_without_go_services_says_so():
    async def use(app, pilot):
        return text(app)

    seen, _ = picker(use)
    assert "Looking at every process" in seen
    assert "look into it" not in seen.splitlines()[-1]


def test_the_help_says_what_is_listed_and_goes_back():
    async def use(app, pilot):
        footer = lines(app)[-1]
        await pilot.press("question_mark")
        await pilot.pause()
        help_text = text(app)
        await pilot.press("backspace")
        await pilot.pause()
        return footer, help_text, text(app)

    (footer, help_text, again), _ = picker(use, UNIT, BOX)
    assert "? help" in footer
    for words in ("Which one? › help", "Go program", "sort by the next column", "/proc", "▲"):
        assert words in help_text, help_text
    assert "orders-api" in again


def test_rows_move_only_when_they_are_sorted():
    def service(pid: int, cpu: float) -> GoService:
        return GoService(pid=pid, name=f"service-{pid}", go_version="go1.24.3", cpu=cpu)

    async def use(app, pilot):
        session, table = app.front.session, app.screen.query_one(BigTable)

        async def look(second: int, *rows: GoService) -> list[int]:
            session.feed(GoServices(at=made.START + timedelta(seconds=second), rows=rows))
            app.screen.arrived(GoServices)
            await pilot.pause()
            return [row.pid for row in table._rows]

        first = await look(1, service(1, 0.1), service(2, 0.9))
        while "CPU" not in table.order:
            await pilot.press("o")
            await pilot.pause()
        by_cpu = [row.pid for row in table._rows]
        later = await look(2, service(1, 5.0), service(2, 0.9), service(3, 9.0))
        while table.order != "the source's own order":
            await pilot.press("o")
            await pilot.pause()
        return first, by_cpu, later, [row.pid for row in table._rows]

    (first, by_cpu, later, own), _ = picker(use, service(1, 0.1), service(2, 0.9))
    assert (first, by_cpu, later, own) == ([1, 2], [2, 1], [2, 1, 3], [1, 2, 3])
