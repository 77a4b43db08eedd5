"""What a view says when it has nothing to show."""

from __future__ import annotations

from datetime import timedelta

from gotriage.catalog import VIEWS
from gotriage.records.environment import Environment, Stream
from gotriage.records.findings import Verdict
from gotriage.records.logs import LogSource, LogState
from gotriage.records.stream import CollectorState, Gap, Heartbeat
from gotriage.session.store import Session
from gotriage.ui.spans import text_of
from gotriage.ui.state import nothing_page

from tests.ui import made

(LOGS,) = (view for view in VIEWS if view.id == "logs")


def page(*records, looked=("journal", "container_log", "file_log")):
    session = Session()
    for record in (*made.beginning(), *records):
        session.feed(record)
    at = made.START + timedelta(seconds=1)
    states = {name: CollectorState(state="waiting") for name in LOGS.sources}
    states |= {name: CollectorState(last=at, state="ok", backend="x") for name in looked}
    if "container_log" in looked:
        states["container_log"] = CollectorState(state="off")
    session.feed(Heartbeat(at=at, collectors=states))
    front = made.front(session, Verdict(at=made.START))
    return "\n".join(text_of(line.spans) for line in nothing_page(front, LOGS, 100))


def state(**fields):
    return LogState(at=made.START, collector="file_log", sources=(LogSource(**fields),))


def test_while_a_source_has_not_looked_the_log_is_looked_for():
    assert "looking …" in page(looked=("journal", "container_log"))


def test_a_log_without_a_line_says_where_the_output_goes():
    streams = (Stream(fd=0, goes_to="nowhere"), Stream(fd=1, goes_to="journal (systemd-journald)"))
    seen = page(Environment(at=made.START, pid=41207, streams=streams))
    assert "looking" not in seen
    assert "nothing logged so far" in seen
    assert "stdout         journal (systemd-journald)" in seen
    assert "journal        looked at" in seen


def test_a_log_that_cannot_be_read_says_why_and_what_to_do():
    seen = page(
        state(name="stdout", where="/dev/null", state="none", detail="thrown away", remedy="log to the journal")
    )
    assert "nothing that the target writes can be read here" in seen
    assert "stdout         /dev/null: thrown away" in seen
    assert "→ log to the journal" in seen


def test_a_log_that_is_forbidden_says_so_beside_what_is_known():
    gap = Gap(at=made.START, source="file_log", reason="Permission denied: /proc/1/fd", permission=True)
    seen = page(gap, state(name="stderr", where="/var/log/x.log"))
    assert "not permitted" in seen
    assert "Permission denied: /proc/1/fd" in seen
    assert "stderr         /var/log/x.log" in seen
