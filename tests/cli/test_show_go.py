"""`show goroutines` and `show runtime`: the contract's keys, other tools' formats, plain words where there is no Go."""

from __future__ import annotations

import gzip
import json

import pytest
from gotriage.cli import show_go
from gotriage.cli.main import run
from gotriage.records.goroutines import Goroutine, Goroutines
from gotriage.records.stream import CollectorState, Gap, Heartbeat, Reply
from gotriage.records.target import TargetSpec, TargetState
from gotriage.session.recording import save
from gotriage.session.store import Session

from tests.ui import made

ONE = {
    "id", "state", "wait_reason", "wait_seconds", "stack", "created_by", "created_by_id", "labels", "system",
    "waiting_on",
}  # fmt: skip
RUNTIME = {
    "go_version", "gomaxprocs", "threads", "goroutines", "heap_live_bytes", "heap_goal_bytes", "gc_percent",
    "memory_limit_bytes", "gc_cycles", "last_gc_at", "gc_pause_total_seconds", "module", "dependencies", "settings",
    "cgo", "stripped", "pie", "race",
}  # fmt: skip
"""What the contract names."""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("show") / "x.gts.jsonl.zst"
    save(made.session(20), path)
    return str(path)


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    path = tmp_path_factory.mktemp("later") / "y.gts.jsonl.zst"
    save(made.session(60), path)
    return str(path)


@pytest.fixture
def shown(capfdbinary):
    def show(*words):
        status = run(["show", *words])
        out, err = capfdbinary.readouterr()
        return status, out, err.decode()

    return show


def objects(out):
    return [json.loads(line) for line in out.splitlines()]


def test_one_object_a_goroutine_by_id(shown, file):
    status, out, err = shown("goroutines", "--from", file, "--json")
    found = objects(out)
    assert status == 0
    assert all(one.keys() >= ONE for one in found)
    assert [one["id"] for one in found] == sorted(one["id"] for one in found)
    one = next(one for one in found if one["id"] == 5001)
    assert one["stack"][-1]["function"] == "example.com/orders/internal/inventory.(*Client).refresh"
    assert not any(frame["function"] == "runtime.gopark" for frame in one["stack"])
    assert one["created_by"] == {
        "function": "example.com/orders/internal/inventory.(*Client).Start",
        "file": "/build/orders/internal/inventory/client.go",
        "line": 88,
    }
    assert (one["created_by_id"], one["labels"], one["wait_reason"]) == (1, {"handler": "/orders"}, "IO wait")
    assert one["wait_seconds"] == pytest.approx(199.0, abs=3)
    assert one["peer"] == "tcp 10.4.0.2:30031 → 10.4.0.17:8086 CLOSE_WAIT"
    assert "goroutines are not here one by one; --group counts all" in err


def test_one_object_a_distinct_stack(shown, file):
    _, out, _ = shown("goroutines", "--from", file, "--json", "--group")
    found = objects(out)
    assert [one["count"] for one in found] == sorted((one["count"] for one in found), reverse=True)
    assert len(found[0]["ids"]) == 20
    assert all(one.keys() >= (ONE - {"id", "created_by_id"}) | {"count", "ids"} for one in found)


def test_one_object_for_the_runtime(shown, file):
    _, out, _ = shown("runtime", "--from", file, "--json")
    (one,) = objects(out)
    assert one.keys() >= RUNTIME
    assert (one["go_version"], one["gomaxprocs"], one["threads"], one["module"]) == (
        "go1.24.3",
        8,
        14,
        "example.com/orders",
    )
    assert one["dependencies"][0]["path"] == "golang.org/x/net"
    assert (one["cgo"], one["stripped"], one["pie"], one["race"]) == (True, True, True, False)
    assert one["last_gc_at"].endswith("Z")
    assert one["settings"]["-buildmode"] == "pie"
    assert one["size_classes"][0]["size"] == 0


def test_text(shown, file):
    _, out, _ = shown("goroutines", "--from", file)
    lines = out.decode().splitlines()
    assert lines[0] == "1,570 goroutines in 6 groups, 1 of them the runtime's own"
    assert lines[1].split()[:4] == ["COUNT", "+/min", "OLDEST", "STATE"]
    assert "inventory.(*Client).Get" in lines[2]
    _, out, _ = shown("goroutines", "--from", file, "--group")
    assert "    created by example.com/orders/queue.Start\n        /build/orders/queue/worker.go:31" in out.decode()
    _, out, _ = shown("runtime", "--from", file)
    assert "GOMEMLIMIT  none" in out.decode()
    assert "build       cgo, stripped, PIE\n" in out.decode()


def test_exports(shown, file, tmp_path):
    _, out, _ = shown("goroutines", "--from", file, "--export", "debug2")
    assert b"goroutine 5001 [IO wait, 3 minutes]:\ninternal/poll.runtime_pollWait(...)\n\t" in out
    _, out, _ = shown("goroutines", "--from", file, "--export", "folded")
    assert any(line.endswith(b";[chan receive] 640") for line in out.splitlines())
    path = tmp_path / "g.pb.gz"
    status, out, err = shown("goroutines", "--from", file, "--export", "pprof", "-o", str(path))
    assert (status, out) == (0, b"")
    assert f"wrote {path}" in err
    assert b"example.com/orders/queue.Start" not in gzip.decompress(path.read_bytes())
    assert b"example.com/orders/queue.(*Worker).loop" in gzip.decompress(path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o600
    assert shown("goroutines", "--from", file, "--export", "pprof", "-o", str(path))[0] == 64
    assert shown("goroutines", "--from", file, "--export", "pprof", "-o", str(tmp_path / "no" / "x"))[0] == 3


def test_against_an_earlier_recording(shown, file, later):
    status, out, _ = shown("goroutines", "--from", later, "--against", file)
    lines = out.decode().splitlines()
    assert status == 0
    assert lines[0] == "1,570 → 1,610 goroutines in 40s"
    assert lines[1].split()[:5] == ["grew", "+40", "878", "→", "918"]
    assert "inventory.(*Client).Get client.go:71, created at client.go:88" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == ["stuck"] * (len(lines) - 2)
    _, out, _ = shown("goroutines", "--from", later, "--against", file, "--json")
    found = objects(out)
    assert (found[0]["change"], found[0]["before"], found[0]["after"], found[0]["seconds"]) == ("grew", 878, 918, 40.0)
    assert {one["change"] for one in found} == {"grew", "same", "stuck"}
    assert shown("goroutines", "--from", later, "--against", "/nonexistent")[0] == 3


@pytest.mark.parametrize(
    "words",
    [
        ("goroutines", "--against", "x", "--group"),
        ("files", "--against", "x"),
        ("runtime", "--group"),
        ("files", "--export", "pprof"),
        ("goroutines", "-o", "x"),
        ("goroutines", "--export", "pprof", "--json"),
        ("goroutines", "--export", "svg"),
    ],
    ids=" ".join,
)
def test_wrong_usage(words, file, shown):
    status, out, err = shown(*words, "--from", file)
    assert (status, out, err.count("\n")) == (64, b"", 1)


def saved(path, *records):
    session = Session(bounded=False)
    for record in records:
        session.feed(record)
    save(session, path)
    return str(path)


STATE = TargetState(at=made.START, spec=TargetSpec("pid", "7"), name="nginx", state="running", pid=7, comm="nginx")


@pytest.mark.parametrize("view", ["goroutines", "runtime"])
def test_a_target_that_is_not_go(view, shown, tmp_path):
    beat = Heartbeat(at=made.START, collectors={view: CollectorState(state="off")})
    status, out, err = shown(view, "--json", "--from", saved(tmp_path / "x.gts.jsonl.zst", STATE, beat))
    assert (status, out) == (3, b"")
    assert "nginx is not a Go program" in err


def test_a_permission_that_lacks_is_77(shown, tmp_path):
    gap = Gap(at=made.START, source="goroutines", reason="permission denied", permission=True, remedy="sudo gotriage")
    status, _, err = shown("goroutines", "--from", saved(tmp_path / "x.gts.jsonl.zst", STATE, gap))
    assert status == 77
    assert "sudo gotriage" in err


class Scripted:
    """A link whose agent first sends some, and all on request."""

    def __init__(self, *batches):
        self.batches, self.asked = list(batches), []

    def poll(self, timeout):
        return self.batches.pop(0) if self.batches else None

    def request(self, op, collectors=(), **more):
        self.asked.append((op, collectors, more))
        return 5


def test_all_goroutines_are_asked_for_where_some_were_left_out():
    some = Goroutines(at=made.START, total=2, omitted=1, goroutines=(Goroutine(id=1, state="waiting"),))
    every = Goroutines(at=made.START, total=2, goroutines=tuple(Goroutine(id=n, state="waiting") for n in (1, 2)))
    done = Heartbeat(at=made.START, collectors={"goroutines": CollectorState(last=made.START)})
    waiting = Heartbeat(at=made.START, collectors={"goroutines": CollectorState(state="waiting")})
    link, session = Scripted([waiting], [], [some, done], [every, Reply(at=made.START, id=5)]), Session()
    show_go.wait_for(session, link, "goroutines", whole=True)
    assert link.asked == [("goroutines", ("goroutines",), {"limit": show_go.MOST})]
    assert session.latest(Goroutines).omitted == 0
    link, session = Scripted([some, done]), Session()
    show_go.wait_for(session, link, "goroutines", whole=False)
    assert link.asked == []
