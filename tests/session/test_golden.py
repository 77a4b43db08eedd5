"""Recordings of every version open for ever: a file of each is kept here, with every kind of record and every field."""

from __future__ import annotations

from pathlib import Path

import pytest
from gotriage.records.stream import SCHEMA
from gotriage.session.recording import load
from gotriage.session.stream import KINDS

FILES = sorted((Path(__file__).parent / "golden").glob("*.gts.jsonl"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_old_recording_opens_whole(path):
    session, report = load(path)
    assert report.whole, report.remarks
    assert report.records == len(path.read_text().splitlines())
    assert session.first is not None


def test_the_newest_file_has_every_kind():
    text = FILES[-1].read_text()
    assert FILES[-1].name == f"{SCHEMA}.gts.jsonl"
    assert [kind for kind in KINDS if f'{{"kind":"{kind}"' not in text] == []
