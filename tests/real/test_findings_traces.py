"""Findings from traces of real services that are ill: system calls, requests, peers and names, by the real sources."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from gotriage import catalog
from gotriage.records.stream import Request
from gotriage.records.target import TargetSpec
from gotriage.records.tracing import Traces
from gotriage.rules.engine import judge
from gotriage.session.store import Session

from tests.agent.fakes import Stream
from tests.lab.folders import let_enter
from tests.real.checks import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.records.tracing import Trace

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="traces of the kernel take root"),
]
FULL = 'mount -t tmpfs -o size=64k none /mnt && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" "$@"'
"""A small file system that nobody else sees."""


class Watch:
    """Sources of the catalogue on a process, and what the rules say of what they have told."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._fed = stream, 0
        self.session = Session()

    def start(self, name: str, **options: str) -> None:
        """Start that source, and wait until it runs on request: before that, it looks now and then by itself."""
        self._stream.beats(1)
        self._stream.send(Request(self._fed + 1, "start", (name,), seconds=60.0, options=options))
        self._wait(lambda: (row := self._trace(name)) is not None and row.asked and row.state == "running")

    def findings(self):
        for record in self._stream.records[self._fed :]:
            self.session.feed(record)
        self._fed = len(self._stream.records)
        return {finding.id: finding for finding in judge(self.session).findings}

    def until(self, *rules: str):
        """The findings, once all of these are among them."""
        self._wait(lambda: set(rules) <= self.findings().keys())
        return self.findings()

    def _trace(self, name: str) -> Trace | None:
        self.findings()
        traces = self.session.latest(Traces)
        return traces.of(name) if traces is not None else None

    def _wait(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 40.0
        while not holds():
            assert time.monotonic() < end, (sorted(self.findings()), judge(self.session).unknown)
            self._stream.records += self._stream.link.poll(0.2) or []


@contextmanager
def watching(pid: int, *names: str):
    rows = [row for row in catalog.SOURCES if row.name in ("process", "file_counts", *names)]
    with Stream(*rows, spec=TargetSpec("pid", str(pid))) as stream:
        yield Watch(stream)


@contextmanager
def name_server(seconds: float):
    """Answers every question so late, with the address 127.0.0.1; its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.83.51.9", 53))
        server.settimeout(0.2)
        over, timers = threading.Event(), []

        def answer(question: bytes, who: tuple[str, int]) -> None:
            head = question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\4\x7f\0\0\1"
            if not over.is_set():
                server.sendto(head + question[12:].partition(b"\0\0\x29")[0] + record, who)

        def serve() -> None:
            while not over.is_set():
                try:
                    question, who = server.recvfrom(2048)
                except TimeoutError:
                    continue
                timers.append(threading.Timer(seconds, answer, (question, who)))
                timers[-1].start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield "127.83.51.9:53"
        finally:
            over.set()
            thread.join()
            for timer in timers:
                timer.cancel()
                timer.join()


def test_what_only_system_calls_tell(service, tmp_path):
    """Nothing of it is in the log, which says no more than that the service is up."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    let_enter(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with name_server(1.4) as server:
        running = service(
            "svc", "-exec=40", f"-try={secret}", "-fill=/mnt/log", f"-dial={nobody}", f"-dns={server}",
            wrapper=("unshare", "-m", "sh", "-c", FULL), ready=False,
        )  # fmt: skip
        running.wait_for(lambda: "service up" in running.log)
        with watching(running.pid, "syscalls", "probes") as watch:
            watch.start("probes", probe="connects,dns,execs")
            watch.start("syscalls")
            found = watch.until("exec-storm", "disk-full", "permission-denied", "connection-refused", "dns-slow")
    assert found["exec-storm"].title.partition("/s")[0].isdigit()
    assert any("/proc/self/exe" in words for words in found["exec-storm"].evidence)
    assert found["disk-full"].severity == "critical"
    assert "/mnt/log" in found["disk-full"].evidence[-1]
    assert found["permission-denied"].subject == str(secret)
    assert found["connection-refused"].subject == nobody
    assert "orders.internal" in found["dns-slow"].evidence[0]
    assert "permission denied" not in running.log


def ask(address: str, path: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    finally:
        connection.close()


def test_requests_that_fail_and_requests_that_are_slow(service):
    running = service("web")
    address = running.address.split()[0]
    with watching(running.pid, "http") as watch:
        watch.start("http")
        asking = [threading.Thread(target=ask, args=(address, "/slow?ms=1300")) for _ in range(5)]
        for thread in asking:
            thread.start()
        for _ in range(30):
            ask(address, "/status/503")
            ask(address, "/status/404")
        for thread in asking:
            thread.join()
        found = watch.until("error-responses", "slow-requests")
    assert "mostly 503" in found["error-responses"].title
    assert found["slow-requests"].title.startswith("GET /slow takes up to 1.3s")


def test_descriptors_that_have_run_out_are_one_finding(service):
    """The light sources run by themselves: nothing has to be asked for."""
    running = service("svc", "-nofile=64", "-leak-fds=200")
    running.wait_for(lambda: "too many open files" in running.log)
    found, status = check("--pid", running.pid)
    by_id = {finding["id"]: finding for finding in found}
    assert (status, by_id["syscall-errors"]["because"]) == (2, "fd-exhaustion")
    assert "with EMFILE" in by_id["syscall-errors"]["title"]
