"""Containers' output by every log driver that keeps it here, with docker and podman in the lab."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from gotriage.collectors.container_log import ContainerLogCollector
from gotriage.collectors.journal import JournalCollector
from gotriage.host import Host
from gotriage.records.logs import LogLine, LogLines, LogState
from gotriage.records.stream import Gap, Request
from gotriage.records.target import TargetSpec
from gotriage.session.logs import LogStore
from gotriage.target.model import ContainerRef, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gotriage.records import Record

    from tests.lab.engines import Engine

pytestmark = pytest.mark.real


def target(engine: Engine, container_id: str, name: str) -> Target:
    host = Host.of(engine.lab.pid)
    return Target(TargetSpec("container", name), host, container=ContainerRef(engine.name, container_id, name))


def watched(
    collector: ContainerLogCollector | JournalCollector,
    seconds: float = 10,
    until: Callable[[LogStore], object] = lambda store: len(store) > 5,
) -> tuple[LogStore, list[Record]]:
    store, others = LogStore(), []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until(store):
        for record in collector.collect():
            if isinstance(record, LogLines):
                store.add(record)
            else:
                others.append(record)
        time.sleep(0.1)
    return store, others


def counts(lines: list[LogLine]) -> list[int]:
    return [int(line.fields["count"]) for line in lines if "count" in line.fields]


def test_files_are_followed(engine: Engine, build: Callable[..., Path]):
    tag = engine.image(build("svc"))
    driver = "json-file" if engine.name == "docker" else "k8s-file"
    found = engine.run("logs-1", tag, "-tick=100ms", "-format=slog", options=(f"--log-driver={driver}",))
    collector = ContainerLogCollector(Host.of(engine.lab.pid), target(engine, found, "logs-1"))
    try:
        store, others = watched(collector, until=lambda store: len(counts(store.tail(1000))) >= 10)
        history = [record for record in collector.answer(Request(1, "logs", limit=3)) if isinstance(record, LogLines)]
    finally:
        collector.close()
    lines = store.tail(1000)
    numbers = counts(lines)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {(line.source, line.identifier, line.stream) for line in lines} == {(engine.name, "logs-1", "stderr")}
    assert {line.message for line in lines if "count" in line.fields} == {"tick"}
    (state,) = [record for record in others if isinstance(record, LogState)]
    assert state.sources[0].state == "ok"
    assert sum(len(record.rows) for record in history) == 3


def test_docker_rotates_and_long_lines_come_in_pieces(docker: Engine, build: Callable[..., Path]):
    tag = docker.image(build("svc"))
    options = ("--log-driver=json-file", "--log-opt=max-size=300k", "--log-opt=max-file=3")
    arguments = ("-tick=50ms", "-format=slog", f"-message={'m' * 40_000}")
    found = docker.run("logs-2", tag, *arguments, options=options)
    collector = ContainerLogCollector(Host.of(docker.lab.pid), target(docker, found, "logs-2"))
    try:
        store, _ = watched(collector, 20, lambda store: len(counts(store.tail(1000))) >= 25)
        older = [record for record in collector.answer(Request(1, "logs", limit=1000)) if isinstance(record, LogLines)]
    finally:
        collector.close()
    numbers = counts(store.tail(1000))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {len(line.message) for line in store.tail(10)} == {40_000}
    assert sum(len(record.rows) for record in older) > 6, "also what is in the rotated files"


def test_dockers_local_driver_is_read_by_the_engine(docker: Engine, build: Callable[..., Path]):
    found = docker.run("logs-3", docker.image(build("svc")), "-tick=100ms", options=("--log-driver=local",))
    collector = ContainerLogCollector(Host.of(docker.lab.pid), target(docker, found, "logs-3"))
    try:
        store, _ = watched(collector, 15, lambda store: len(counts(store.tail(1000))) >= 15)
    finally:
        collector.close()
    numbers = counts(store.tail(1000))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert collector.backend == "engine API"


def test_the_journald_driver_is_read_from_the_journal(engine: Engine, build: Callable[..., Path]):
    tag = engine.image(build("svc"))
    found = engine.run("logs-4", tag, "-tick=100ms", "-panic=1s", options=("--log-driver=journald",))
    who = target(engine, found, "logs-4")
    files = ContainerLogCollector(Host.of(engine.lab.pid), who)
    journal = JournalCollector(Host.of(engine.lab.pid), who)
    try:
        assert list(files.collect()) == []
        store, others = watched(journal, 15, lambda store: store.of_kind("panic"))
    finally:
        files.close()
        journal.close()
    (panic,) = store.of_kind("panic")
    assert panic.message.startswith("panic: ")
    assert "goroutine" in panic.message
    lines = store.tail(1000)
    assert {(line.source, line.identifier, line.stream) for line in lines} == {(engine.name, "logs-4", "stderr")}
    assert all(line.priority is None for line in lines)
    assert [record for record in others if isinstance(record, LogState)]


def test_what_the_engine_does_not_keep(docker: Engine, build: Callable[..., Path]):
    found = docker.run("logs-5", docker.image(build("svc")), "-tick=1s", options=("--log-driver=none",))
    collector = ContainerLogCollector(Host.of(docker.lab.pid), target(docker, found, "logs-5"))
    try:
        (state,) = list(collector.collect())
    finally:
        collector.close()
    assert isinstance(state, LogState)
    assert (state.sources[0].state, "json-file" in state.sources[0].remedy) == ("none", True)


def test_a_log_that_is_gone_is_a_gap(docker: Engine, build: Callable[..., Path]):
    found = docker.run("logs-6", docker.image(build("svc")), "-tick=1s")
    (docker.lab.root / f"var/lib/docker/containers/{found}/{found}-json.log").unlink()
    collector = ContainerLogCollector(Host.of(docker.lab.pid), target(docker, found, "logs-6"))
    try:
        records = list(collector.collect())
    finally:
        collector.close()
    (gap,) = [record for record in records if isinstance(record, Gap)]
    assert "No such file" in gap.reason
