"""The snapshot key: a good name, a place that takes it, and never more than a line when none does."""

from __future__ import annotations

import pytest
from gotriage.errors import NotWritten
from gotriage.session import recording
from gotriage.session.recording import load
from gotriage.ui import snapshot

from tests.ui import made


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("orders-api.service", "gotriage-orders-api-"),
        ("../../etc/passwd", "gotriage-etc_passwd-"),
        ("\x1b]0;x\x07", "gotriage-0_x-"),
        ("…", "gotriage-session-"),
        ("x" * 300, "gotriage-" + "x" * 60 + "-"),
    ],
    ids=["unit", "path", "escape", "nothing plain", "long"],
)
def test_names(name, begins):
    session = made.session(1)
    for record in made.beginning(name):
        session.feed(record)
    found = snapshot.file_name(made.front(session))
    assert found.startswith(begins)
    assert found.endswith(".gts.jsonl.zst")
    assert "/" not in found


def test_the_next_place_when_the_first_does_not_take_it(tmp_path, monkeypatch):
    missing, there = tmp_path / "missing", tmp_path / "there"
    there.mkdir()
    monkeypatch.setattr(snapshot, "places", lambda: iter((missing, there)))
    said, role = snapshot.write(made.front(made.session(2)))
    assert role == "good"
    (file,) = there.iterdir()
    assert str(file) in said
    assert load(file)[0].latest(made.TargetState).name == made.NAME


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert gone not in list(snapshot.places())


def test_no_place_at_all_is_one_line(tmp_path, monkeypatch):
    def full(session, path):
        raise NotWritten(f"{path}: No space left on device")

    monkeypatch.setattr(recording, "save", full)
    said, role = snapshot.write(made.front())
    assert role == "critical"
    assert "No space left on device" in said
    assert "\n" not in said
