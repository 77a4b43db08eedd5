"""The profile's tab: what stands on it, what its keys do, and that a written session shows the same."""

from __future__ import annotations

import gzip

import pytest
from gotriage.session.recording import load, save
from gotriage.ui.front import Front

from tests.ui import made_profile
from tests.ui.made_profile import START
from tests.ui.screens import LARGE, SMALL, drive, shown, text

HOT = "audit.sum"


def body(screen):
    """The lines between the summary and the footer."""
    return screen.splitlines()[4:-1]


@pytest.mark.parametrize("size", [SMALL, LARGE, (60, 12)], ids=str)
def test_the_flame_graph_with_what_was_sampled(size):
    screen = shown(made_profile.front(), "P", size=size)
    assert "522 samples in 5s" in screen
    assert "all" in screen
    assert HOT in screen
    assert "100 %" in screen
    assert all(len(line) <= size[0] for line in screen.splitlines())


def test_at_the_foot_stands_what_the_cursor_is_on():
    screen = shown(made_profile.front(), "P", "down", "down", "down")
    assert "example.com/orders/audit.sum" in screen.splitlines()[-2]
    assert "53 %" in screen.splitlines()[-2]
    assert "2.78 s of CPU" in screen.splitlines()[-2]
    screen = shown(made_profile.front(), "P", "down", "down", "down", "right", "up", "up")
    assert screen.splitlines()[-2].startswith(" net/http.(*conn).serve")


def test_zooming_in_and_out():
    async def use(app, pilot):
        for key in ("P", "down", "down", "enter"):
            await pilot.press(key)
            await pilot.pause()
        inside = text(app)
        await pilot.press("backspace")
        await pilot.pause()
        return inside, text(app)

    inside, outside = drive(made_profile.front(), use)
    assert "all › http.(*conn).serve › api.(*Handler).Post" in inside
    assert "gcBgMark" not in inside
    assert "callers above callees" in outside


def test_search_marks_and_adds_up():
    async def use(app, pilot):
        for key in ("P", "slash", *"audit", "enter"):
            await pilot.press(key)
            await pilot.pause()
        return text(app)

    screen = drive(made_profile.front(), use)
    assert "53 % of the samples are in 'audit'" in screen
    assert "example.com/orders/audit.sum" in screen.splitlines()[-2]


def test_groups_kernel_and_runtime():
    assert "go by net/http.(*Server).Serve" in shown(made_profile.front(), "P", "b")
    assert "route=/orders" in shown(made_profile.front(), "P", "b", "b")
    with_kernel, without = (
        shown(made_profile.front(), "P", size=LARGE),
        shown(made_profile.front(), "P", "K", size=LARGE),
    )
    assert "tcp_sendmsg" in with_kernel
    assert "tcp_sendmsg" not in without
    assert "gcDrain" not in shown(made_profile.front(), "P", "x", size=LARGE)


def test_functions_and_threads():
    screen = shown(made_profile.front(), "P", "v")
    assert "FLAT" in screen
    first = next(line for line in screen.splitlines() if HOT in line)
    assert "50 %" in first and "53 %" in first
    screen = shown(made_profile.front(), "P", "v", "v")
    assert "waited 320ms for a CPU" in screen
    assert "throttled 900ms, in 14 of 50 periods" in screen
    assert "41210" in screen
    page = shown(made_profile.front(), "P", "v", "enter", size=LARGE)
    assert "called by" in page
    assert "example.com/orders/api.(*Handler).Post" in page


def test_against_the_one_before():
    screen = shown(made_profile.front(), "P", "d", "slash", *"audit", "enter")
    assert "against" in screen
    assert "+29.4 points" in screen.splitlines()[-2]
    screen = shown(made_profile.front(), "P", "d", "v")
    assert "CHANGE" in screen
    assert "+31" in next(line for line in screen.splitlines() if HOT in line)
    alone = made_profile.front(made_profile.cpu(1, START, hot=60))
    assert "there is no earlier profile" in shown(alone, "P", "d")


def test_by_the_clock():
    screen = shown(made_profile.front(), "P", "w", size=LARGE)
    assert "50 looks in 5s · 48 goroutines" in screen
    assert "[chan receive]" in screen
    assert "gcBgMarkWorker" not in screen
    assert "[GC w" in shown(made_profile.front(), "P", "w", "x", size=LARGE)
    only = made_profile.front(made_profile.wall(1, START))
    assert "[IO wait]" in shown(only, "P", size=LARGE)


def test_exports_go_where_a_snapshot_would(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def use(app, pilot):
        await pilot.press("P")
        await pilot.pause()
        for form in ("", "folded"):
            await pilot.press("E")
            await pilot.pause()
            if form:
                await pilot.press(*["backspace"] * 5, *form)
            await pilot.press("enter")
            await pilot.pause()
        return text(app)

    screen = drive(made_profile.front(), use, size=LARGE)
    assert "wrote" in screen
    pprof, folded = sorted(tmp_path.glob("*.pb.gz")), sorted(tmp_path.glob("*.folded"))
    assert gzip.decompress(pprof[0].read_bytes())
    assert "audit.sum 260" in folded[0].read_text()


def test_without_a_profile_it_says_what_one_tells_and_what_another_needs():
    nothing = made_profile.front(made_profile.refused("wall", "it is not Go", ""))
    assert "none so far" in shown(nothing, "P")
    traces = made_profile.refused("profile", "perf events are not permitted: kernel.perf_event_paranoid is 4", "sudo …")
    screen = shown(made_profile.front(traces), "P")
    for words in ("not permitted", "perf_event_paranoid is 4", "sudo …", "[w] wall-clock profile"):
        assert words in screen


def test_a_written_session_shows_the_same(tmp_path):
    made = made_profile.session(
        made_profile.cpu(1, START, hot=60, notes=("a note",)),
        made_profile.wall(1, START),
        made_profile.cpu(2, START, hot=90),
    )
    file = tmp_path / "session.gts.jsonl.zst"
    save(made, file)
    opened, report = load(file)
    assert not report.remarks
    for keys in (("P", "b"), ("P", "w"), ("P", "d", "v")):
        assert body(shown(Front(made), *keys)) == body(shown(Front(opened), *keys)), keys


def test_hostile_names_stay_in_their_cells():
    record = made_profile.cpu(1, START, hot=9)
    frames = tuple(
        type(one)(f"[red]\u4e2d\u6587{'x' * 300}{number}", one.kind) for number, one in enumerate(record.frames)
    )
    import msgspec

    front = made_profile.front(msgspec.structs.replace(record, frames=frames))
    for size in (SMALL, (61, 13)):
        screen = shown(front, "P", "down", "enter", "v", "v", "v", size=size)
        assert "[red]" in screen
