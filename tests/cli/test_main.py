"""The last boundary: whatever goes wrong inside is one line that shows nothing of the target."""

from __future__ import annotations

from gotriage.cli import doctor, main


def test_an_error_of_our_own_is_one_line_without_message_and_locals(monkeypatch, capsys):
    def broken(arguments):
        secret = "hunter2"
        raise ZeroDivisionError(secret)

    monkeypatch.setattr(doctor, "run", broken)
    assert main.run(["doctor"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("gotriage: internal error: ZeroDivisionError at test_main.py:")
    assert "hunter2" not in said.err
