"""Tables, pages and verdicts as plain text; JSON with every key."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from gotriage import catalog
from gotriage.records.base import Why
from gotriage.records.files import OpenFile
from gotriage.records.findings import Finding, Fine, Unknown, Verdict
from gotriage.records.limits import Limit
from gotriage.records.process import ProcessSample
from gotriage.records.stream import Gap
from gotriage.render import jsonl, text
from gotriage.render.cells import cell
from gotriage.render.columns import Column

WHEN = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "width", "shown"),
    [
        ("abc", 5, "abc  "),
        ("abcdef", 4, "abc…"),
        ("日本語", 4, "日… "),
        ("日本", 4, "日本"),
        ("", 2, "  "),
        ("abc", 0, ""),
    ],
)
def test_text_fits_its_cells(given, width, shown):
    assert text.fit(given, width) == shown
    assert text.cells_wide(text.fit(given, width)) == width


def test_numbers_stand_right():
    assert text.fit("12", 5, right=True) == "   12"


def rows():
    return [
        Limit(
            name="RLIMIT_NOFILE",
            scope="rlimit",
            soft=1024,
            hard=524288,
            used=1021,
            growth=0.63,
            full_in=5,
            subject="41207",
        ),
        Limit(name="memory.max", scope="cgroup", unit="bytes", soft=512 << 20, used=212 << 20, subject="/x"),
        Limit(name="RLIMIT_AS", scope="rlimit", unit="bytes", unlimited=True),
    ]


def test_a_growth_that_rounds_to_nothing_has_no_sign():
    column = Column("growth", "GROWTH", "value")
    slow = Limit(name="x", scope="rlimit", used=5, growth=0.004)
    assert cell(slow, column) == "0"
    assert cell(Limit(name="x", scope="rlimit", used=5, growth=-0.6), column) == "-36/m"


def test_a_table_reads_in_the_units_of_its_rows():
    view = catalog.view("limits")
    lines = list(text.table(rows(), view.columns))
    assert lines[0].split()[:4] == ["LIMIT", "USED", "SOFT", "HARD"]
    assert lines[1].split()[:6] == ["RLIMIT_NOFILE", "1,021", "1,024", "524,288", "+38/m", "5s"]
    assert lines[2].split()[:3] == ["memory.max", "212M", "512M"]
    assert "no limit" in lines[3]
    assert "–" in lines[3]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_of_a_table_is_wider_than_the_terminal(width):
    for view in catalog.VIEWS:
        if view.id == "files":
            many = [OpenFile(pid=1, fd=n, type="socket", name="x" * 300, peer="y" * 300) for n in range(3)]
            assert all(text.cells_wide(line) <= width for line in text.table(many, view.columns, width))


def test_a_page_says_why_a_value_is_missing():
    sample = ProcessSample(
        at=WHEN, threads=8, unknown={"fds": Why("permission denied", "run with sudo", permission=True)}
    )
    lines = list(text.page(sample))
    assert any("threads" in line and "8" in line for line in lines)
    assert any("fds" in line and "not permitted" in line and "run with sudo" in line for line in lines)


def finding(name, severity="critical", **more):
    return Finding(
        id=name, severity=severity, title="a title", evidence=("seen",), fix="do it", observed_at=WHEN, **more
    )


def test_consequences_stand_under_their_cause():
    verdict = Verdict(
        findings=(finding("fd-exhaustion", explains=("panic",)), finding("panic", because="fd-exhaustion")),
        fine=(Fine("memory", "memory 212 of 512 MB"),),
        unknown=(Unknown("selinux", "not enabled"),),
    )
    lines = list(text.verdict(verdict, [Gap(at=WHEN, source="journal", reason="not readable", remedy="run with sudo")]))
    assert lines[0].startswith("✖ critical fd-exhaustion")
    assert any(line.strip().startswith("└ explains") and "panic" in line for line in lines)
    assert sum("panic" in line for line in lines) == 1
    assert any(line.startswith("Fine") for line in lines)
    assert any("journal: not readable" in line and "run with sudo" in line for line in lines)


def test_a_healthy_service_has_no_finding():
    assert next(iter(text.verdict(Verdict()))) == "No finding."


def test_json_has_every_key_and_null_for_unknown():
    row = json.loads(jsonl.line(rows()[2]))
    assert row["soft"] is None
    assert row["used"] is None
    assert set(row) == set(Limit.__struct_fields__)
    sample = json.loads(jsonl.line(ProcessSample(at=WHEN)))
    assert sample["kind"] == "process"
    assert sample["at"] == "2026-11-23T20:00:00Z"
    assert sample["cpu"] is None


def test_the_keys_of_check_are_the_contract():
    keys = set(json.loads(jsonl.line(finding("x"))))
    assert keys >= {"id", "severity", "title", "evidence", "fix", "view", "observed_at", "subject"}


def test_every_column_of_every_view_reads_unknown_values():
    assert cell(Limit(name="x", scope="kernel"), Column("used", "USED", "value")) == "–"
    assert cell(OpenFile(pid=1, fd=2, type="file"), Column("size", "SIZE", "bytes")) == "–"
