"""`show VIEW`: a table's rows, and what its record says besides; log lines with their fields."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import timedelta

import pytest
from gotriage.cli import show
from gotriage.records.libraries import DynamicEntry, Libraries
from gotriage.records.logs import LogLine, LogLines
from gotriage.session.store import Session

from tests.ui import made

PURE = Libraries(
    at=made.START,
    executable="/srv/app",
    linkage="static",
    libc="none",
    is_go=True,
    cgo=False,
    dynamic=(DynamicEntry(section=".note.go.buildid", tag="Go BuildID", value="abc/def"),),
    note="A pure Go program: it needs no library at all.",
)


def of(*records) -> Session:
    session = Session()
    for record in records:
        session.feed(record)
    return session


@pytest.fixture
def shown(monkeypatch, capsys):
    def run(session: Session, view: str, *, as_json: bool = False) -> list[str]:
        monkeypatch.setattr(show, "with_session", lambda _, use, **__: use(session))
        assert show.run(Namespace(list=False, view=view, json=as_json)) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_a_static_program_says_so_as_text(shown):
    seen = "\n".join(shown(of(PURE), "libraries"))
    assert "linkage                    static" in seen
    assert "A pure Go program" in seen
    assert "Go BuildID" in seen


def test_a_static_program_says_so_as_json(shown):
    (line,) = shown(of(PURE), "libraries", as_json=True)
    facts = json.loads(line)
    assert (facts["kind"], facts["linkage"], facts["cgo"]) == ("libraries", "static", False)
    assert facts["note"].startswith("A pure Go program")
    assert facts["dynamic"] == [{"section": ".note.go.buildid", "tag": "Go BuildID", "value": "abc/def"}]
    assert "rows" not in facts


def test_rows_of_libraries_stay_as_they_are_after_the_facts(shown):
    facts, *rows = [json.loads(line) for line in shown(made.session(seconds=2), "libraries", as_json=True)]
    assert facts["missing"] == 1
    assert [row["name"] for row in rows] == ["libm.so.6", "libfoo.so.3"]
    assert not any("kind" in row for row in rows)


def test_other_tables_are_one_object_a_row(shown):
    rows = [json.loads(line) for line in shown(made.session(seconds=2), "files", as_json=True)]
    assert len(rows) == 300
    assert all("fd" in row for row in rows)


def test_a_table_of_files_begins_with_its_counts(shown):
    seen = shown(made.session(seconds=2), "files")
    assert any("tcp CLOSE_WAIT=266" in line for line in seen)


def line(second: int, message: str, **more) -> LogLine:
    return LogLine(at=made.START + timedelta(seconds=second), source="journal", message=message, **more)


def test_log_lines_keep_their_fields(shown):
    fields = {"@timestamp": "2026-11-23T02:44:03Z", "error": "open /x: too many open files", "path": "/x"}
    rows = (
        line(0, "request failed", level="error", fields=fields),
        line(1, "Main process exited", kind="systemd", identifier="systemd", fields={"EXIT_STATUS": "2"}),
        line(2, "panic: oh\n\ngoroutine 1 [running]:\nmain.main()", kind="panic", fields={"recovered": "yes"}),
    )
    seen = shown(of(LogLines(at=made.START, rows=rows)), "logs")
    assert any(row.endswith("request failed  error=open /x: too many open files  path=/x") for row in seen)
    assert any(row.endswith("systemd: Main process exited") for row in seen)
    assert any(row.endswith("panic: oh  recovered=yes") for row in seen)
    assert "main.main()" in seen  # a stack stands whole
