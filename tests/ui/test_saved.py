"""Collect, render; write, read, render: the two screens are equal."""

from __future__ import annotations

import pytest
from gotriage.catalog import VIEWS
from gotriage.records.stream import End
from gotriage.session.recording import Writer, load, save

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, drive, text


def end_like(session, other):
    """The file's own end is a record too, and later than all others."""
    session.feed(other.latest(End))
    return session


def screens(session, size) -> dict[str, str]:
    """Every view at the head, and two steps earlier."""

    async def use(app, pilot):
        seen = {}
        for view in VIEWS:
            await pilot.press(view.key)
            await pilot.pause()
            seen[view.id] = text(app)
            await pilot.press("comma", "comma")
            await pilot.pause()
            seen[f"{view.id} earlier"] = text(app)
            await pilot.press("f")
        return seen

    return drive(made.front(session), use, size)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_a_snapshot_opens_on_the_same_screens(tmp_path, size):
    session = made.session(30)
    save(session, tmp_path / "x.gts.jsonl.zst")
    again, report = load(tmp_path / "x.gts.jsonl.zst")
    assert not report.remarks
    assert screens(again, size) == screens(end_like(session, again), size)


def test_a_recording_opens_on_the_same_screens(tmp_path):
    with Writer(tmp_path / "x.gts.jsonl.zst") as writer:
        for record in made.records(30):
            writer.add(record)
    again, _ = load(tmp_path / "x.gts.jsonl.zst")
    assert screens(again, SMALL) == screens(end_like(made.session(30), again), SMALL)
