"""Big tables: any number of rows, only those in sight become text."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage import catalog
from gotriage.records.files import FileCounts
from gotriage.records.limits import Limit, LimitTable
from gotriage.render.cells import cell
from gotriage.render.columns import Column
from gotriage.ui.widgets.table import BigTable, fitting, widths

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, drive, text

COLUMNS = [Column("fd", "FD", "count", 6), Column("name", "NAME"), Column("state", "STATE", "text", 11)]


def test_a_hundred_thousand_rows_become_text_only_in_sight():
    front = made.front(made.session(2, 100_000))

    async def use(app, pilot):
        await pilot.press("7")
        await pilot.pause()
        table = app.screen.query_one(BigTable)
        read = []
        table._text = lambda row, column: read.append(row) or cell(row, column)
        await pilot.press("G")
        await pilot.pause()
        return table.cursor, len(set(map(id, read))), text(app)

    place, read, seen = drive(front, use)
    assert place == 99_999
    assert read < 100
    assert "99,999" in seen


def test_a_hundred_thousand_rows_are_searched_filtered_and_sorted():
    front = made.front(made.session(2, 100_000))

    async def use(app, pilot):
        await pilot.press("7", "slash", *"segment-00099999", "enter")
        table = app.screen.query_one(BigTable)
        found = table.row.fd
        await pilot.press("o", "O", "g")
        first = table.row.fd
        table.narrow("segment-0009")
        return found, first, table.counts

    found, first, counts = drive(front, use)
    assert found == 99_999
    assert first == 0
    assert counts == (1112, 100_000)


def test_the_cursor_stays_on_its_row_when_new_rows_come():
    front = made.front()

    async def use(app, pilot):
        await pilot.press("7", "j", "j", "j")
        table = app.screen.query_one(BigTable)
        before = table.row.fd
        table.show(table._all[2:])
        await pilot.pause()
        return before, table.row.fd, table.cursor

    assert drive(front, use) == (3, 3, 1)


def test_rows_that_go_away_leave_the_cursor_on_the_last():
    async def use(app, pilot):
        await pilot.press("7", "G")
        table = app.screen.query_one(BigTable)
        table.show(table._all[:10])
        await pilot.pause()
        table.show(())
        return table.cursor, table.row, text(app)

    assert drive(made.front(), use)[:2] == (0, None)


@pytest.mark.parametrize("total", [30, 58, 77, 100, 150, 198])
def test_columns_always_fit(total):
    from gotriage.catalog import VIEWS

    for view in VIEWS:
        if view.columns:
            shown = fitting(view.columns, total)
            assert shown
            assert sum(widths(shown, total)) + 2 * (len(shown) - 1) <= total or len(shown) == 1


def test_a_column_without_values_sorts():
    async def use(app, pilot):
        await pilot.press("7")
        table = app.screen.query_one(BigTable)
        table._sorted = ("size", True)
        table._arrange()
        return [row.fd for row in table._rows[:2]], table._rows[-1].size

    assert drive(made.front(), use, SMALL) == ([297, 288], None)


def test_what_is_left_is_shared_by_weight():
    columns = [Column("name", "LIMIT", "text", 20), Column("subject", "FOR"), Column("fix", "RAISE WITH", weight=3)]
    assert widths(columns, 200) == [20, 44, 132]


def test_the_line_that_raises_a_limit_stands_whole_on_a_wide_screen():
    fix = f"systemctl set-property {made.NAME} MemoryMax=1073741824 # {'x' * 8}"
    session = made.session(2)
    rows = (Limit(name="memory.max", scope="cgroup", unit="bytes", soft=9.0, used=1.0, subject=made.CGROUP, fix=fix),)
    session.feed(LimitTable(at=made.START + timedelta(seconds=9), rows=rows))

    async def use(app, pilot):
        await pilot.press(catalog.view("limits").key)
        await pilot.pause()
        return text(app)

    assert fix in drive(made.front(session), use, LARGE)


def limits_line(*rows: Limit) -> str:
    session = made.session(2)
    session.feed(LimitTable(at=made.START + timedelta(seconds=9), rows=rows))

    async def use(app, pilot):
        await pilot.press(catalog.view("limits").key)
        await pilot.pause()
        return text(app).splitlines()[3]

    return drive(made.front(session), use)


def test_the_headline_of_limits_is_about_the_target():
    machine = Limit(name="kernel.pid_max", scope="kernel", soft=100.0, used=1.0, full_in=5.0, subject="machine")
    mine = Limit(name="RLIMIT_NOFILE", scope="rlimit", soft=100.0, used=1.0, full_in=60.0, subject="pid 7")
    assert "1 limit, none above 80 %" in limits_line(machine)
    assert "kernel.pid_max" not in limits_line(machine)
    assert "RLIMIT_NOFILE first, in 1m00s" in limits_line(machine, mine)


def test_the_files_of_several_processes_add_up():
    session = made.session(2)
    by_type = {"socket": 500, "file": 18}
    counts = FileCounts(
        at=made.START + timedelta(seconds=9), total=518, fullest=512, fullest_pid=41, soft_limit=512, by_type=by_type
    )
    session.feed(counts)

    async def use(app, pilot):
        await pilot.press(catalog.view("files").key)
        await pilot.pause()
        return text(app).splitlines()[3]

    seen = drive(made.front(session), use)
    assert "512 of 512 in pid 41  518 in all processes:  socket 500  file 18" in seen
