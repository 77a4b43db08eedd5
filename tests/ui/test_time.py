"""Pausing and stepping: every view shows what was true then."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.ui.times import parse

from tests.ui import made
from tests.ui.screens import drive, shown, text


def test_stepping_back_shows_older_values():
    assert "1,016" in shown(made.front(), "2")
    seen = shown(made.front(), "2", "comma", "comma")
    assert "1,009" in seen
    assert "1,016" not in seen


def test_stepping_forward_comes_back():
    assert "1,013" in shown(made.front(), "2", "comma", "comma", "full_stop")


def test_follow_is_the_newest_again():
    assert "1,016" in shown(made.front(), "2", "comma", "comma", "f")


def test_pause_keeps_the_moment_while_records_come():
    front = made.front(made.session(seconds=60))

    async def use(app, pilot):
        await pilot.press("2", "space")
        for number in range(60, 70):
            for record in made.second(number):
                front.session.feed(record)
        app.screen.moved()
        await pilot.pause()
        paused = text(app)
        await pilot.press("space")
        await pilot.pause()
        return paused, text(app)

    paused, after = drive(front, use)
    assert "806" in paused
    assert "841" in after


def test_jump_to_a_time():
    moment = (made.START + timedelta(seconds=10)).astimezone().strftime("%H:%M:%S")
    seen = shown(made.front(), "2", "t", *[{":": "colon"}.get(sign, sign) for sign in moment], "enter")
    assert "635" in seen
    assert moment in seen.splitlines()[0]


def test_a_time_that_is_none_says_what_would_be():
    assert "'soon' is no time" in shown(made.front(), "t", *"soon", "enter")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("-5m", -300), ("+30s", 30), ("-2", -120), ("-1h", -3600), ("-1d", -86400), (" -10s ", -10)],
)
def test_steps(text, seconds):
    assert parse(text, made.START) == made.START + timedelta(seconds=seconds)


def test_a_clock_time_is_the_last_one():
    now = made.START
    local = now.astimezone()
    assert parse(local.strftime("%H:%M:%S"), now) == now
    later = (local + timedelta(minutes=1)).strftime("%H:%M:%S")
    assert parse(later, now) == now + timedelta(minutes=1) - timedelta(days=1)


def test_iso_times_and_nonsense():
    assert parse("2026-11-23T02:47:10+00:00", made.START) == made.START + timedelta(minutes=3, seconds=7)
    for nonsense in ("", "25:00", "x", "-", "-99999999999999d", "+99999999d", "12:60"):
        assert parse(nonsense, made.START) is None
