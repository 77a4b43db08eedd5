"""The agent's end of the stream: what goes out has no secrets, whoever made the record."""

from __future__ import annotations

import os

import pytest
from gotriage.agent.output import Closed, Output
from gotriage.host import clock
from gotriage.records.files import FileTable, OpenFile
from gotriage.records.service import UnitState
from gotriage.records.stream import Gap, Header
from gotriage.records.target import Event


def written(*records):
    read, write = os.pipe()
    output = Output(write)
    for record in records:
        output.write(record)
    os.close(write)
    with os.fdopen(read, "rb") as end:
        return end.read().decode()


@pytest.mark.parametrize(
    "record",
    [
        UnitState(at=clock.now(), name="x.service", exec_start="/bin/app -secret hunter2"),
        Event(at=clock.now(), what="note", detail="Authorization: Bearer hunter2"),
        Gap(at=clock.now(), source="x", reason="dial postgres://app:hunter2@db/x: refused"),
    ],
    ids=["unit", "event", "gap"],
)
def test_a_secret_that_a_collector_let_through_stops_here(record):
    line = written(record)
    assert "hunter2" not in line
    assert "***" in line


def test_what_has_no_secret_is_written_as_it_is():
    header = Header(at=clock.now(), host="token@host")
    assert '"redaction":""' in written(header)  # a live stream is not a redacted recording
    table = FileTable(at=clock.now(), rows=(OpenFile(pid=1, fd=3, type="file", name="/srv/tokens.db"),))
    assert "/srv/tokens.db" in written(table)


def test_a_reader_that_has_gone_is_noticed():
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(Closed):
        Output(write).write(Header(at=clock.now()))
    os.close(write)
