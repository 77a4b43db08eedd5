"""What `show goroutines` and `show runtime` print of a live service, against the service's own account of itself."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import urllib.request

import pytest

from tests.lab import gotrace, toolchain
from tests.lab.process import wait_until

pytestmark = pytest.mark.real
STRIPPED = ("-ldflags=-s -w",)


def show(*words):
    done = subprocess.run(
        [sys.executable, "-m", "gotriage", "show", *map(str, words)], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def places(frames):
    return [(frame["function"], frame["file"], frame["line"]) for frame in frames]


def stood(ours, theirs):
    """Both say that it waits, and it is none that serves the dump itself."""
    serves = any("net/http" in place[0] or "pprof" in place[0] for place in theirs.stack)
    return not serves and not {ours, theirs.state} & {"running", "runnable"}


def compared(ours, theirs):
    """What differs of a goroutine that both know and that stood still."""
    stack = gotrace._elided(places(ours["stack"]), theirs.stack)
    made = ours["created_by"]
    pairs = {
        "state": (ours["wait_reason"] or ours["state"], theirs.state),
        "stack": (stack, theirs.stack),
        "locked": (ours["locked"], theirs.locked),
    }
    if theirs.created_by:
        pairs["created_by"] = (places([made])[0] if made else None, theirs.created_by)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("go", toolchain.QUICK)
def test_goroutines_are_those_of_the_services_own_dump(service, go):
    running = service("parked", go=go, flags=STRIPPED)
    ours = {one["id"]: one for one in map(json.loads, show("goroutines", "--pid", running.pid, "--json").splitlines())}
    theirs = gotrace.fetch(running.address)
    both = [goid for goid in ours.keys() & theirs.keys() if not ours[goid]["moved"] and not ours[goid]["system"]]
    still = [goid for goid in both if stood(ours[goid]["state"], theirs[goid])]
    assert len(still) > 150
    assert {goid: found for goid in still if (found := compared(ours[goid], theirs[goid]))} == {}


def test_gos_own_text_is_gos_own_text(service):
    running = service("parked", flags=STRIPPED)
    ours = gotrace.parse(show("goroutines", "--pid", running.pid, "--export", "debug2"))
    theirs = gotrace.fetch(running.address)
    still = [goid for goid in ours.keys() & theirs.keys() if stood(ours[goid].state, theirs[goid])]
    assert len(still) > 150
    for goid in still:
        ours[goid].stack = gotrace._elided(ours[goid].stack, theirs[goid].stack)
    assert {goid: (ours[goid], theirs[goid]) for goid in still if ours[goid] != theirs[goid]} == {}


def test_groups_count_every_goroutine(service, tmp_path):
    running = service("parked", "-n=7000", flags=STRIPPED)
    groups = [json.loads(line) for line in show("goroutines", "--pid", running.pid, "--json", "--group").splitlines()]
    largest = max(groups, key=lambda group: group["count"])
    assert largest["count"] == 7000
    assert "main.takeJob" in [frame["function"] for frame in largest["stack"]]
    lines = show("goroutines", "--pid", running.pid, "--json").splitlines()
    assert sum("main.takeJob" in line for line in lines) == 7000
    file = tmp_path / "g.pb.gz"
    show("goroutines", "--pid", running.pid, "--export", "pprof", "-o", file)
    assert b"main.takeJob" in gzip.decompress(file.read_bytes())


@pytest.mark.parametrize("go", toolchain.QUICK)
def test_the_runtime_in_one_object(service, go):
    running = service("parked", go=go, flags=STRIPPED, env={"GOGC": "150", "GOMEMLIMIT": "512MiB"})
    urllib.request.urlopen(f"http://{running.address}/gc", timeout=20).read()
    (line,) = show("runtime", "--pid", running.pid, "--json").splitlines()
    ours = json.loads(line)
    with urllib.request.urlopen(f"http://{running.address}/numbers", timeout=20) as answer:
        theirs = json.load(answer)
    assert (ours["go_version"], ours["module"]) == (f"go{go}", "example.com/gotriage/parked")
    assert (ours["gc_percent"], ours["memory_limit_bytes"]) == (150, 512 << 20)
    for name in ("gomaxprocs", "gc_cycles", "heap_goal_bytes"):
        assert ours[name] == theirs[name], name
    assert ours["goroutines"] > 150
    assert ours["threads"] > 2
    assert (ours["stripped"], ours["pie"], ours["race"], ours["cgo"]) == (True, False, False, False)


def test_a_recording_shows_the_same(service, tmp_path):
    running = service("parked", flags=STRIPPED)
    file = tmp_path / "x.gts.jsonl.zst"
    subprocess.run(
        [sys.executable, "-m", "gotriage", "snapshot", "--pid", str(running.pid), "-o", file],
        check=True,
        capture_output=True,
        timeout=120,
    )
    live = [json.loads(line) for line in show("goroutines", "--pid", running.pid, "--json", "--group").splitlines()]
    kept = [json.loads(line) for line in show("goroutines", "--from", file, "--json", "--group").splitlines()]

    def waiting(groups):
        return {
            (group["wait_reason"], str(group["stack"]), str(group["created_by"])): group["count"]
            for group in groups
            if group["wait_reason"] and not group["system"] and "net/http" not in str(group["stack"])
        }

    assert waiting(kept) == waiting(live)
    assert json.loads(show("runtime", "--from", file, "--json"))["go_version"] == f"go{toolchain.NEWEST}"


def test_a_program_that_is_not_go_says_so():
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            for view in ("goroutines", "runtime"):
                done = subprocess.run(
                    [sys.executable, "-m", "gotriage", "show", view, "--pid", str(other.pid), "--json"],
                    capture_output=True,
                    check=False,
                    timeout=120,
                )
                assert (done.returncode, done.stdout) == (3, b"")
                assert b"sleep is not a Go program" in done.stderr
        finally:
            other.kill()


def test_waits_are_measured_by_looking_twice(service):
    running = service("parked", flags=STRIPPED)

    def waited():
        lines = show("goroutines", "--pid", running.pid, "--json", "--for", "9s").splitlines()
        return [one["wait_seconds"] for one in map(json.loads, lines) if one["wait_source"] == "observed"]

    wait_until(lambda: len([seconds for seconds in waited() if seconds >= 1]) > 100, 60)
