"""Goroutines, locks, heap and scheduler of real services that are ill in one way each, and of such that only look so.

What needs watching is watched for several services at once: minutes in all, not one for each.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.lab import toolchain
from tests.lab.process import Start, started
from tests.real.checks import check, first, own_cgroup

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

OLD, NEW = toolchain.QUICK
SOONER = """
[thresholds.goroutine-leak]
seconds = 12
grace = 0
[thresholds.memory-leak]
seconds = 15
grace = 0
doubling_seconds = 4
doubling_rise = 33554432
[thresholds.cpu-hot-loop]
seconds = 12
looks = 4
"""
"""Thresholds under which growth is told sooner; what makes it growth stays as it is."""
WATCHED = "45s"
AT_ONCE = 5
"""Services that are watched at the same time: what watches costs most at its start."""


def watched(cases, folder, settle=0.0):
    """Start each, let it settle, watch it, some at once; name to what `check` found and its exit status."""
    config = folder / "config.toml"
    config.write_text(SOONER)
    binaries = {go: toolchain.build("goill", go) for _, go in cases.values()}

    def look(name):
        arguments, go = cases[name]
        with started(Start(binaries[go], tuple(arguments.split()))) as running:
            time.sleep(settle)
            return check("--pid", running.pid, "--config", config, "--for", WATCHED)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(cases, pool.map(look, cases), strict=True))


QUIET = {
    "leak": ("-ill=leak -rate=10", NEW),
    "lost": ("-ill=leak-one -count=60", NEW),
    "abba": ("-ill=abba -count=40", NEW),
    "stuck": ("-ill=stuck", OLD),
    "lock": ("-ill=lock -count=200", OLD),
    "channel": ("-ill=channel -count=500", NEW),
    "threads": ("-ill=threads -count=500", NEW),
    "memory": ("-ill=memory -rate=8", NEW),
    "well": ("", NEW),
    "pool": ("-ill=pool -count=3000", NEW),
}
MORE = {
    "leak, Go 1.21": ("-ill=leak -rate=10", OLD),
    "bursts": ("-ill=bursts -rate=200", OLD),
    "slow": ("-ill=slow -count=400", NEW),
    "poll": ("-ill=poll -count=200 -rate=3", NEW),
    "cache": ("-ill=cache -count=100", OLD),
}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    return watched(QUIET, tmp_path_factory.mktemp("quiet"), settle=6)


@pytest.fixture(scope="module")
def more_quiet(tmp_path_factory):
    return watched(MORE, tmp_path_factory.mktemp("more"), settle=6)


def told(found, name, rule):
    """The first finding, which has to be of the rule."""
    findings, status = found[name]
    assert [one["id"] for one in findings][:1] == [rule], findings
    assert status == {"critical": 2, "warning": 1}[findings[0]["severity"]]
    return findings[0]


def says(finding, *words):
    for text in words:
        assert any(text in sentence for sentence in (finding["title"], *finding["evidence"])), finding


def is_a_leak(found, name):
    first = told(found, name, "goroutine-leak")
    assert first["title"].startswith("goroutines grow by +")
    says(first, "in chan send at main.computeResult (ill.go:", "created by main.handleAndForget (ill.go:", "/min")
    says(first, "has been there for")
    assert "main.computeResult" in first["fix"]
    assert first["view"] == "goroutines"


def test_a_leak_names_its_place_its_creator_and_its_growth(quiet):
    is_a_leak(quiet, "leak")


@pytest.mark.slow
def test_a_leak_of_an_older_go(more_quiet):
    is_a_leak(more_quiet, "leak, Go 1.21")


def test_goroutines_that_can_never_go_on(quiet):
    found = told(quiet, "lost", "goroutine-leak")
    says(found, "60 goroutines can never go on: chan send at main.computeResult (ill.go:")
    says(found, "wait on channels that nothing else in the program refers to")


def test_a_ring_of_locks(quiet):
    found = told(quiet, "abba", "deadlock")
    assert found["severity"] == "critical"
    says(found, "main.transfer (ill.go:", "main.refund (ill.go:", "40 more goroutines wait for the same locks")


def test_all_goroutines_blocked(quiet):
    found = told(quiet, "stuck", "deadlock")
    assert found["severity"] == "critical"
    says(found, "every goroutine is blocked", "4 in chan send at main.transform (ill.go:", "main.feed (ill.go:")


def test_a_lock_that_is_held_for_long(quiet):
    found = told(quiet, "lock", "lock-contention")
    says(found, "goroutines wait for one mutex, at main.(*cache).get (ill.go:")
    says(found, "likely held by goroutine", "main.(*cache).refresh (ill.go:")


def test_a_channel_whose_consumer_is_gone(quiet):
    found = told(quiet, "channel", "channel-blocked")
    says(found, "500 goroutines send to a channel that nobody receives from, at main.produce (ill.go:")
    says(found, "unbuffered, 500 send, nobody receives", "created by main.deadConsumer (ill.go:")


def test_threads_name_the_goroutines_that_hold_them(quiet):
    says(told(quiet, "threads", "thread-explosion"), "500 goroutines", "at main.readBlocking (ill.go:")


def test_a_heap_that_only_grows(quiet):
    found = told(quiet, "memory", "memory-leak")
    says(found, "the live heap grows by", "survive a collection")
    assert found["view"] == "runtime"


@pytest.mark.parametrize("name", ["well", "pool"])
def test_no_finding_on(quiet, name):
    assert quiet[name] == [[], 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bursts", "slow", "poll", "cache"])
def test_no_finding_on_what_may_look_ill(more_quiet, name):
    assert more_quiet[name] == [[], 0]


# -- those that take all the CPU they get


@pytest.fixture(scope="module")
def hungry(tmp_path_factory):
    """The loop by itself: among others it does not get the CPU that it is known by."""
    folder = tmp_path_factory.mktemp("hungry")
    cases = {
        "gc": ("-ill=gc -count=60", NEW),
        "gc, Go 1.21": ("-ill=gc -count=60", OLD),
        "busy": ("-ill=busy", NEW),
    }
    return watched({"loop": ("-ill=loop", NEW)}, folder) | watched(cases, folder)


def test_a_loop(hungry):
    says(told(hungry, "loop", "cpu-hot-loop"), "never left the CPU", "main.loop")


@pytest.mark.parametrize("name", ["gc", "gc, Go 1.21"])
def test_a_memory_limit_below_what_is_alive(hungry, name):
    found = told(hungry, name, "gc-thrash")
    says(found, "GOMEMLIMIT is too low for what is alive", "collections in")
    assert "GOMEMLIMIT=" in found["fix"]


def test_no_finding_under_load(hungry):
    assert hungry["busy"] == [[], 0]


# -- what the cgroup allows


@contextmanager
def limited(controller, service, *arguments, go=OLD, env=None, **settings):
    """A service in a cgroup of its own from its first instruction on."""
    with own_cgroup(controller, **settings) as group:
        enter = ("/bin/sh", "-c", f'echo $$ >"{group}/cgroup.procs" && exec "$0" "$@"')
        with started(Start(toolchain.build(service, go), arguments, wrapper=enter, env=env)) as running:
            yield running


@pytest.mark.parametrize("go", [OLD, NEW])
def test_gomaxprocs_beyond_the_quota(go):
    with limited("cpu", "healthy", "-rate=0", go=go, env={"GOMAXPROCS": "64"}, cpu__cfs_quota_us=200_000) as running:
        found = first("--pid", running.pid, "--for", "4s")
    assert found["id"] == "gomaxprocs-mismatch"
    assert found["title"].startswith("GOMAXPROCS is 64, the ")
    assert "GOMAXPROCS=2" in found["fix"]


def test_gomaxprocs_that_fits_the_quota():
    with limited("cpu", "healthy", "-rate=0", env={"GOMAXPROCS": "2"}, cpu__cfs_quota_us=150_000) as running:
        assert check("--pid", running.pid, "--for", "4s") == [[], 0]


def test_a_memory_limit_above_the_cgroups():
    limit = 256 << 20
    with limited("memory", "healthy", env={"GOMEMLIMIT": "1GiB"}, memory__limit_in_bytes=limit) as running:
        found = first("--pid", running.pid, "--for", "4s")
    assert found["id"] == "gomemlimit-mismatch"
    assert found["title"].startswith("GOMEMLIMIT is 1.0G, the cgroup allows 256M")
    assert "GOMEMLIMIT=230MiB" in found["fix"]


def test_no_memory_limit_and_a_collection_that_would_come_too_late():
    with limited("memory", "svc", "-hog-mb=90", memory__limit_in_bytes=128 << 20) as running:
        found = first("--pid", running.pid, "--for", "4s")
    assert found["id"] == "gomemlimit-mismatch"
    assert found["title"].startswith("no GOMEMLIMIT, and the next collection is due at ")


def test_a_memory_limit_that_fits():
    env = {"GOMEMLIMIT": "200MiB"}
    with limited("memory", "healthy", env=env, memory__limit_in_bytes=256 << 20) as running:
        assert check("--pid", running.pid, "--for", "4s") == [[], 0]
