"""Every view on both sizes: it says what it should, fits the terminal, and says why when it has nothing."""

from __future__ import annotations

import pytest
from gotriage.catalog import VIEWS
from gotriage.records.findings import Verdict
from gotriage.records.stream import Gap
from gotriage.records.target import TargetState
from gotriage.session.store import Session

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, drive, lines, shown

EXPECTED = {
    "findings": (
        "fd-exhaustion",
        "because",
        "958 sockets",
        "next",
        "LimitNOFILE=65536",
        "explains",
        "error-responses",
        "Fine",
        "Unknown",
    ),
    "overview": (
        made.NAME,
        "active (running)",
        "go1.24.3",
        "CPU",
        "2.00",
        "threads",
        "1,016",
        "99 %",
        "⊘",
        "Permission denied",
    ),
    "limits": ("RLIMIT_NOFILE", "1,016", "1,024", "+38/m", "11s", "512M", "no limit", "⊘", "9.2e+18"),
    "files": (
        "1,016 of 1,024",
        "CLOSE_WAIT 266",
        "10.4.0.2:30001 → 10.4.0.17:8086",
        "sock_diag: Operation not permitted",
    ),
    "libraries": ("dynamic-pie", "1 missing", "missing: install libfoo3", "ld.so.cache"),
    "environment": (
        "paths it was given it may not use",
        "--listen",
        "/usr/bin/orders-api",
        "another file stands at this path",
    ),
}


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
@pytest.mark.parametrize("view", [row for row in VIEWS if row.id in EXPECTED], ids=lambda row: row.id)
def test_a_tab_shows_its_view(view, size):
    seen = shown(made.front(), view.key, size=size)
    for words in EXPECTED[view.id]:
        assert words in seen, seen


@pytest.mark.parametrize("size", [SMALL, LARGE, (61, 13)], ids=str)
def test_every_line_has_exactly_the_width(size):
    async def use(app, pilot):
        seen = {}
        for view in VIEWS:
            await pilot.press(view.key)
            await pilot.pause()
            seen[view.id] = [strip.cell_length for strip in app.screen._compositor.render_strips()]
        return seen

    assert drive(made.front(), use, size) == {view.id: [size[0]] * size[1] for view in VIEWS}


@pytest.mark.parametrize("view", VIEWS, ids=lambda row: row.id)
def test_a_tab_without_any_record_says_that_it_looks(view):
    seen = shown(made.front(Session(), Verdict()), view.key)
    assert "RECORDED" in seen
    assert "ooking" in seen or "not traced so far" in seen or view.id in ("overview", "logs", "profile", "probes")


def test_the_header_tells_who_is_looked_at():
    first = shown(made.front(), size=LARGE).splitlines()[0]
    for words in (made.NAME, "pid 41207", "go1.24.3", "rev 9f3c2e1+", "up 3h13m", "restarts 2", "RECORDED"):
        assert words in first


def test_the_narrow_header_keeps_the_name_and_the_pid():
    first = shown(made.front(), size=(60, 20)).splitlines()[0]
    assert made.NAME in first
    assert "pid 41207" in first


def test_the_rule_counts_findings_on_every_tab():
    for view in VIEWS:
        assert "✖ 1 critical ▲ 2 warning" in shown(made.front(), view.key).splitlines()[2]


def test_a_forbidden_view_says_why_and_what_to_type():
    session = Session()
    for record in made.beginning():
        session.feed(record)
    session.feed(
        Gap(
            at=made.START,
            source="limits",
            reason="hidepid",
            lost="every limit",
            remedy="sudo gotriage --pid 1",
            permission=True,
        )
    )
    seen = shown(made.front(session, Verdict(at=made.START)), "4")
    for words in ("⊘ Limits", "not permitted", "hidepid", "every limit", "sudo gotriage --pid 1"):
        assert words in seen


def test_a_target_that_does_not_run_says_so():
    session = Session()
    session.feed(
        TargetState(at=made.START, spec=made.SPEC, name=made.NAME, state="stopped", reason="Result=exit-code, status 2")
    )
    seen = shown(made.front(session, Verdict(at=made.START)), "7")
    assert "stopped: Result=exit-code, status 2" in seen.splitlines()[0]
    assert "nothing runs" in seen


def test_a_healthy_service_has_no_finding():
    given = Verdict(at=made.START, fine=made.verdict().fine)
    seen = shown(made.front(given=given))
    assert "No finding." in seen
    assert "memory 212 of 512 MB" in seen


def test_a_terminal_that_is_too_small_gets_one_plain_sentence():
    async def use(app, pilot):
        return lines(app)

    seen = drive(made.front(), use, (20, 5))
    assert " ".join(line.strip() for line in seen).startswith("gotriage needs 60x12, this terminal has 20x5.")


def test_growing_the_terminal_brings_the_screens_back():
    async def use(app, pilot):
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        return "\n".join(lines(app))

    assert "fd-exhaustion" in drive(made.front(), use, (20, 5))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_both_themes_draw(theme):
    assert "fd-exhaustion" in shown(made.front(), theme=theme)
