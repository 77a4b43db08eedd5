"""Requests, queries and handshakes of real Go programs by probes at functions, against what the client counted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.http_uprobes import HttpUprobes
from gotriage.errors import TargetGone, UsageError
from gotriage.host import Host, uprobes

from tests.lab.golayout import dwarf
from tests.lab.process import wait_until
from tests.lab.toolchain import NEWEST, QUICK, VERSIONS, build
from tests.real.targets import target_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="probes of user functions take root"),
]

STRIPPED = ("-ldflags=-s -w",)
BUILDS = [
    *((version, False, STRIPPED) for version in QUICK),
    (NEWEST, True, ("-buildmode=pie", "-ldflags=-s -w -linkmode=external")),
    *((version, False, STRIPPED) for version in VERSIONS if version not in QUICK),
    *((version, False, ("-buildmode=pie", *STRIPPED)) for version in VERSIONS),
]
ALL = [pytest.param(*way, marks=() if at < 3 else pytest.mark.slow) for at, way in enumerate(BUILDS)]
TIMES = 7


@contextmanager
def traced(pid, **options):
    target = target_of(pid)
    with closing(HttpUprobes(target.host, target)) as tracer:
        tracer.start(options)
        yield tracer


def addresses(running):
    """Of plain HTTP, and of HTTPS."""
    return (running.folder / "ready").read_text().split()


def ask(url, times=TIMES, *more):
    """What the client got: "PROTOCOL STATUS" to how often."""
    line = [build("web"), "-get", url, f"-times={times}", *more]
    out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return {" ".join(words[:2]): int(words[2]) for words in map(str.split, out.splitlines())}


def look(tracer):
    (record,) = tracer.collect()
    return record


def rows(record):
    """(direction, call, protocol, method, route) to statuses."""
    return {(row.direction, row.call, row.protocol, row.method, row.route): row.statuses for row in record.rows}


@pytest.mark.parametrize(("version", "cgo", "flags"), ALL)
def test_everything_is_counted_as_the_client_counts(service, version, cgo, flags):
    running = service("web", go=version, cgo=cgo, flags=flags)
    plain, secure = addresses(running)
    with traced(running.pid) as tracer:
        for url in (f"http://{plain}", f"https://{secure}"):
            for path in (
                "/",
                "/item/42",
                "/status/503",
                "/recovered",
                "/sql",
                "/prepared",
                "/out",
                "/nowhere",
                "/panic",
            ):
                protocol = "HTTP/1.1" if url.startswith("http:") else "HTTP/2.0"
                status = {"/status/503": 503, "/recovered": 500}.get(path, 200)
                got = ask(url + path)
                assert got == {f"{protocol} {status}" if path != "/panic" else "error 0": TIMES}
        ask(f"https://{secure}/old", TIMES, "-http1")
        last = [None]

        def all_there():
            last[0] = look(tracer)
            return (
                sum(rows(last[0]).get(("in", "http", p, "GET", "/panic"), {}).get("panic", 0) for p in both)
                == 2 * TIMES
            )

        both = ("HTTP/1", "HTTP/2")
        wait_until(all_there)
    found = rows(last[0])
    for protocol in both:
        for route in ("/", "/item/{n}", "/sql", "/out", "/nowhere"):
            assert found["in", "http", protocol, "GET", route] == {"200": TIMES}
        assert found["in", "http", protocol, "GET", "/recovered"] == {"500": TIMES}
    assert found["in", "http", "HTTP/1", "GET", "/status/{n}"] == {"503": TIMES, "404": 2 * TIMES}
    assert found["in", "http", "HTTP/2", "GET", "/status/{n}"] == {"503": TIMES}
    assert found["in", "http", "HTTP/1", "GET", "/old"] == {"200": TIMES}
    assert found["out", "http", "HTTP/1", "GET", "/status/{n}"] == {"404": 2 * TIMES}
    assert found["out", "http", "", "GET", "/"] == {"failed": 2 * TIMES}
    assert found["out", "sql", "", "exec", "INSERT INTO orders VALUES (?, ...)"] == {"OK": 2 * TIMES}
    assert found["out", "sql", "", "query", "SELECT name FROM orders WHERE id = ? AND name <> ?"] == {"OK": 2 * TIMES}
    assert found["out", "sql", "", "exec", "BROKEN"] == {"failed": 2 * TIMES}
    prepared = "SELECT name FROM orders WHERE id = $1 AND kind = ?"
    for method, statement in (
        ("begin", ""),
        ("query", prepared),
        ("exec", prepared),
        ("exec", "DELETE FROM orders WHERE id = ?"),
        ("commit", ""),
    ):
        assert found["out", "sql", "", method, statement] == {"OK": 2 * TIMES}
    assert found["in", "tls", "", "handshake", ""]["OK"] >= 9
    assert last[0].lost == 0
    assert "grpc in" in last[0].absent
    assert running.process.poll() is None


def code_at(pid, offsets):
    """The bytes of the program's code in the memory of the process, by file offset."""
    regions = [m for m in Host().proc.maps(pid) if m.inode and "x" in m.perms]
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        found = []
        for offset in offsets:
            region = next(m for m in regions if m.offset <= offset < m.offset + m.end - m.start)
            memory.seek(region.start + offset - region.offset)
            found.append(memory.read(1))
    return b"".join(found)


def test_in_flight_slow_and_off_again(service):
    running = service("web")
    plain, _ = addresses(running)
    with traced(running.pid, probes="server") as tracer:
        offsets = [offset for offset, _ in tracer._plan.places]
        assert set(code_at(running.pid, offsets)) == {0xCC}
        with subprocess.Popen([build("web"), "-get", f"http://{plain}/slow?ms=600000"]) as waiting:
            wait_until(lambda: look(tracer).in_flight)
            record = look(tracer)
            (call,) = record.in_flight
            assert (call.method, call.path, call.status, record.in_flight_count) == ("GET", "/slow", "", 1)
            assert call.goroutine > 0
            (row,) = (row for row in record.rows if row.in_flight)
            assert (row.route, row.oldest > 0, row.count) == ("/slow", True, 0)
            ask(f"http://{plain}/slow?ms=120", 2)
            record = look(tracer)
            assert [call.path for call in record.slowest] == ["/slow", "/slow"]
            assert all(call.seconds > 0.1 for call in record.slowest)
            tracer.detach()
            assert look(tracer).in_flight  # as it was when it was detached
            assert 0xCC not in code_at(running.pid, offsets)
            hits = tracer.meter().hits
            assert hits == 3 * 2 + 1
            ask(f"http://{plain}/", 5)
            tracer.attach()
            ask(f"http://{plain}/missed", 5)
            assert tracer.meter().hits == hits + 15
            record = look(tracer)
            assert not record.in_flight  # it began before this sample
            assert "sample" in record.note
            assert sum(row.count for row in record.rows) == 7
            waiting.kill()
    assert 0xCC not in code_at(running.pid, offsets)
    assert "200" in str(ask(f"http://{plain}/", 1))


HOLDER = """
import sys, time
from contextlib import closing
from gotriage.collectors.http_uprobes import HttpUprobes
from tests.real.targets import target_of
target = target_of(int(sys.argv[1]))
tracer = HttpUprobes(target.host, target)
tracer.start({})
print(*(offset for offset, _ in tracer._plan.places), flush=True)
time.sleep(600)
"""


def test_nothing_is_left_when_the_tracer_is_killed(service):
    running = service("web")
    plain, _ = addresses(running)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(running.pid)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            offsets = list(map(int, holder.stdout.readline().split()))
            before = code_at(running.pid, offsets)
            with subprocess.Popen([build("web"), "-get", f"http://{plain}/sql", "-seconds=1", "-workers=8"]) as load:
                time.sleep(0.5)
                holder.kill()
                holder.wait()
                wait_until(lambda: 0xCC not in code_at(running.pid, offsets))
                assert load.wait(30) == 0
        finally:
            holder.kill()
    assert set(before) == {0xCC}
    assert ask(f"http://{plain}/sql") == {"HTTP/1.1 200": TIMES}


def test_a_program_without_any_of_it_and_another_process_of_the_same_file(service):
    first, second = service("web"), service("web")
    target = target_of(first.pid)
    with closing(HttpUprobes(target.host, target)) as tracer:
        price = tracer.price({"probes": "server"})
        assert any("the same file: not touched" in word for word in price.words)
        assert price.hits_per_second is not None
        tracer.start({"probes": "server"})
        assert 0xCC not in code_at(second.pid, [offset for offset, _ in tracer._plan.places])
    with closing(HttpUprobes(target.host, target)) as tracer, pytest.raises(Unavailable, match="no code"):
        tracer.start({"probes": "grpc"})
    with closing(HttpUprobes(target.host, target)) as tracer:
        tracer.price({})
        other = build("healthy").stat()
        tracer._program = (other.st_dev, other.st_ino, other.st_mtime_ns)  # as after an exec
        with pytest.raises(TargetGone, match="another program"):
            tracer.start({})
        assert not tracer._uprobes.attached
    with closing(HttpUprobes(target.host, target)) as tracer, pytest.raises(UsageError, match="no probes 'disk'"):
        tracer.start({"probes": "disk"})


FIELDS = {
    "net/http.Request": {"Method": 0, "URL": 16, "ProtoMajor": 40},
    "net/url.URL": {"Host": 40, "Path": 56},
    "net/http.Response": {"StatusCode": 16, "ProtoMajor": 40},
    "database/sql.Stmt": {"query": 8},
}
"""What gohttp.bpf.c reads of them."""


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_fields_lie_where_they_are_read(version):
    structs = dwarf.read(build("web", version), set(FIELDS), set()).structs
    for name, fields in FIELDS.items():
        assert {field: structs[name][1][field][0] for field in fields} == fields


def test_before_linux_6_10_each_place_is_a_perf_event(service, monkeypatch):
    monkeypatch.setattr(uprobes, "AT_ONCE", (99, 0))
    running = service("web")
    plain, _ = addresses(running)
    with traced(running.pid, probes="server") as tracer:
        offsets = [offset for offset, _ in tracer._plan.places]
        ask(f"http://{plain}/")
        assert rows(look(tracer)) == {("in", "http", "HTTP/1", "GET", "/"): {"200": TIMES}}
    assert 0xCC not in code_at(running.pid, offsets)
