"""Without a target: the Go services of the machine, and what choosing one attaches to."""

from __future__ import annotations

import asyncio

import pytest
from gotriage.records.target import GoService, GoServices, TargetSpec
from gotriage.session.store import Session
from gotriage.ui.app import GotriageApp
from gotriage.ui.front import Front
from gotriage.ui.screens.picker import spec_of

from tests.ui import made
from tests.ui.screens import text

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

    assert "Looking at every process" in picker(use)[0]
