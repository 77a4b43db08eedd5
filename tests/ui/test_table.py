"""Big tables: any number of rows, only those in sight become text."""

from __future__ import annotations

import pytest
from gotriage.render.cells import cell
from gotriage.render.columns import Column
from gotriage.ui.widgets.table import BigTable, fitting, widths

from tests.ui import made
from tests.ui.screens import SMALL, drive, text

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
