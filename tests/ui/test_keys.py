"""The keys do what the footer says."""

from __future__ import annotations

import pytest
from gotriage.catalog import VIEWS, view
from gotriage.ui.widgets.table import BigTable

from tests.ui import made
from tests.ui.screens import LARGE, drive, shown, text


@pytest.mark.parametrize("view", VIEWS, ids=lambda row: row.id)
def test_a_number_opens_its_view_and_backspace_goes_back(view):
    async def use(app, pilot):
        await pilot.press(view.key)
        opened = app.screen.active
        await pilot.press("backspace")
        return opened, app.screen.active

    assert drive(made.front(), use) == (view.id, "findings")


def test_tab_turns_through_the_views():
    async def use(app, pilot):
        seen = []
        for _ in VIEWS:
            seen.append(app.screen.active)
            await pilot.press("tab")
        return [*seen, app.screen.active]

    assert drive(made.front(), use) == [*[row.id for row in VIEWS], VIEWS[0].id]


def test_enter_opens_a_finding_and_enter_again_the_view_to_look_in():
    front = made.front()
    first = shown(front, "enter")
    assert "Findings › fd-exhaustion" in first
    assert "severity" in first
    assert "7 Files" in shown(made.front(), "enter", "enter").splitlines()[1]

    async def use(app, pilot):
        await pilot.press("enter")
        await pilot.press("enter")
        await pilot.pause()
        where = app.screen.active
        await pilot.press("backspace")
        return where, app.screen.active

    assert drive(made.front(), use) == ("files", "findings")


def test_backspace_leaves_a_detail():
    seen = shown(made.front(), "7", "enter", "backspace")
    assert "FD" in seen
    assert "Files ›" not in seen.splitlines()[1]


def test_a_row_opens_with_nothing_cut():
    seen = shown(made.front(), "7", "enter")
    assert "Files › fd 0" in seen
    assert "/var/lib/orders/segments/2026/11/23/segment-00000000.wal" in seen


def cursor(app) -> int:
    return app.screen.query_one(BigTable).cursor


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        (["j", "j", "k"], 1),
        (["down", "down"], 2),
        (["G"], 299),
        (["end", "up"], 298),
        (["G", "g"], 0),
        (["G", "home"], 0),
        (["pagedown"], 16),
        (["pagedown", "pageup"], 0),
        (["k"], 0),
        (["G", "j"], 299),
    ],
    ids=str,
)
def test_moving_in_a_table(keys, place):
    async def use(app, pilot):
        await pilot.press("7", *keys)
        await pilot.pause()
        return cursor(app)

    assert drive(made.front(), use) == place


def test_search_and_the_next_and_the_previous_place():
    async def use(app, pilot):
        await pilot.press("7", "slash", *"wal", "enter")
        places = [cursor(app)]
        for key in ("n", "n", "N"):
            await pilot.press(key)
            places.append(cursor(app))
        return places

    assert drive(made.front(), use) == [9, 18, 27, 18]


def test_search_without_a_place_says_so():
    assert "no place with 'zzz'" in shown(made.front(), "7", "slash", "z", "z", "z", "enter")


def test_search_on_a_page():
    assert "▌▲ cpu-throttled" in shown(made.front(), "slash", *"quota", "enter")


def test_a_filter_shows_only_its_rows_and_backspace_takes_it_away():
    seen = shown(made.front(), "7", "ampersand", *"deleted", "enter")
    assert "1 of 300 with 'deleted'" in seen
    assert "with 'deleted'" not in shown(made.front(), "7", "ampersand", *"deleted", "enter", "backspace")


def test_escape_leaves_the_prompt_without_an_answer():
    async def use(app, pilot):
        await pilot.press("7", "slash", "x", "escape", "j")
        return cursor(app), text(app)

    place, seen = drive(made.front(), use)
    assert place == 1
    assert "⏎ open" in seen


def test_escape_clears_the_search_then_the_filter_and_never_leaves():
    files = view("files").key

    async def use(app, pilot):
        await pilot.press(files, "ampersand", *"wal", "enter", "slash", *"0027", "enter")
        await pilot.pause()
        table = app.screen.query_one(BigTable)
        seen = [(table._search, table.filter)]
        for _ in range(3):
            await pilot.press("escape")
            await pilot.pause()
            seen.append((table._search, table.filter))
        await pilot.press("n")
        await pilot.pause()
        return seen, app.screen.active, text(app)

    seen, active, said = drive(made.front(), use)
    assert seen == [("0027", "wal"), ("", "wal"), ("", ""), ("", "")]
    assert active == "files"
    assert "nothing was searched yet" in said


def test_escape_on_a_page_stays_there():
    assert "Files › fd 0" in shown(made.front(), view("files").key, "enter", "escape")


def test_sorting_by_the_next_column_and_the_other_way_round():
    async def use(app, pilot):
        await pilot.press("7", "o")
        largest = app.screen.query_one(BigTable).row.fd
        await pilot.press("O")
        return largest, app.screen.query_one(BigTable).row.fd, text(app)

    largest, smallest, seen = drive(made.front(), use)
    assert (largest, smallest) == (299, 0)
    assert "▲FD" in seen
    assert "sorted by FD, smallest first" in seen


def test_help_has_keys_source_and_price():
    seen = shown(made.front(), "7", "question_mark", size=LARGE)
    for words in ("Files › help", "free", "/proc/PID/fd", "every 5s", "search, next, previous", "quit", "copy the row"):
        assert words in seen


def test_the_shell_command_is_filled_in():
    assert "lsof -nP -p 41207" in shown(made.front(), "7", "e")


def test_copy_gives_the_row_to_the_terminal():
    async def use(app, pilot):
        await pilot.press("7", "j", "y")
        return app.clipboard, text(app)

    clipboard, seen = drive(made.front(), use)
    assert "10.4.0.2:30001" in clipboard
    assert "copied" in seen


def test_the_palette_knows_the_views():
    async def use(app, pilot):
        await pilot.press("colon")
        await pilot.pause(0.2)
        every = text(app)
        await pilot.press(*"envir", "enter")
        await pilot.pause(0.2)
        return every, app.screen.active

    every, active = drive(made.front(), use)
    assert "Pause or go on" in every
    assert active == "environment"


def test_the_dynamic_section_is_one_key_away():
    seen = shown(made.front(), "8", "d")
    assert "RUNPATH" in seen
    assert "$ORIGIN/../lib" in seen


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_quitting_asks_nothing(key):
    async def use(app, pilot):
        await pilot.press("7", "slash") if key == "ctrl+c" else None
        await pilot.press(key)
        await pilot.pause()
        return app._exit, app.return_value

    assert drive(made.front(), use) == (True, 0)


def test_the_footer_shows_only_keys_that_work_here():
    assert "sort" not in shown(made.front(), "2").splitlines()[-1]
    assert "sort" in shown(made.front(), "7").splitlines()[-1]
    assert "help" not in shown(made.front(), "question_mark").splitlines()[-1]


def test_a_click_selects_and_a_second_one_opens():
    async def use(app, pilot):
        await pilot.press("7")
        await pilot.pause()
        table = app.screen.query_one(BigTable)
        await pilot.click(table, offset=(5, 4))
        selected = table.cursor
        await pilot.click(table, offset=(5, 4))
        await pilot.pause()
        return selected, text(app)

    selected, seen = drive(made.front(), use)
    assert selected == 3
    assert "Files › fd 3" in seen


def test_a_click_on_the_tab_bar_opens_a_view():
    async def use(app, pilot):
        await pilot.click(offset=(23, 1))
        await pilot.pause()
        return app.screen.active

    assert drive(made.front(), use) == "logs"


def test_a_snapshot_is_written_and_its_path_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def use(app, pilot):
        await pilot.press("S")
        for _ in range(100):
            await pilot.pause(0.02)
            if "wrote" in text(app):
                break
        return text(app)

    seen = drive(made.front(), use)
    (file,) = tmp_path.iterdir()
    assert file.name[-20:] in seen
    assert file.name.startswith("gotriage-orders-api-")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_recording_has_no_namespaces_to_enter():
    assert "a recording has no namespaces to enter" in shown(made.front(), "exclamation_mark")
