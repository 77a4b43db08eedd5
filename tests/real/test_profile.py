"""Profiles of real processes: stripped Go, cgo, a program that is not Go; both ways to samples; and by the clock."""

from __future__ import annotations

import ctypes
import gzip
import json
import platform
import struct
import subprocess
import sys
import time

import pytest
from gotriage.collectors.profile.cpu import BpfTracer, PerfTracer
from gotriage.collectors.profile.wall import WallTracer
from gotriage.errors import GotriageError
from gotriage.goruntime.profiling import Profiling
from gotriage.goruntime.runtime import attach
from gotriage.host import Host
from gotriage.records.profile import CpuProfile, WallProfile
from gotriage.render.flame import Look, tree

from tests.collectors.fakes import real_target
from tests.lab import toolchain

pytestmark = pytest.mark.real

STRIPPED = ("-ldflags=-s -w",)
ENOUGH = 40
"""Samples that a profile has at least before it is looked at."""
BACKENDS = [BpfTracer, PerfTracer]


def taken(tracer, options=None, enough=ENOUGH, seconds=60.0):
    """The last record of a trace that has run until there are so many samples."""
    found = []
    try:
        tracer.start(options or {})
        until = time.monotonic() + seconds
        while not found or found[-1].samples < enough:
            assert time.monotonic() < until, f"only {found[-1].samples if found else 0} samples"
            time.sleep(0.3)
            found += tracer.collect()
    finally:
        tracer.stop()
        tracer.stop()
    return found[-1]


def stacks(profile):
    """Functions of each stack, innermost first, with its count."""
    return [([profile.frames[number].function for number in one.frames], one) for one in profile.stacks]


@pytest.fixture(scope="module")
def spinning(module_service):
    return module_service("parked", "-plain", "-n=10", "-spin=1", flags=STRIPPED)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda one: one.backend)
def test_the_hot_function_of_a_stripped_program_its_caller_and_its_goroutine(spinning, backend):
    profile = taken(backend(Host(), real_target(spinning.pid)))
    assert isinstance(profile, CpuProfile)
    hot = max(profile.rows, key=lambda row: row.own)
    assert (hot.function, hot.frame_kind) in (("main.spinStep", "user"), ("main.spinForever", "user"))
    assert hot.creator == "main.startSpin"
    step = next(row for row in profile.rows if row.function == "main.spinStep")
    assert (step.caller, step.file.rpartition("/")[2]) == ("main.spinForever", "shapes.go")
    assert step.caller_share > 0.9  # a leaf without a frame: the kernel alone misses its caller
    assert profile.named_share >= 0.99
    assert profile.attributed >= 0.8 * profile.samples
    assert profile.threads[0].running > 0
    assert tree(profile, Look("creator")).value == profile.samples


def test_a_program_that_calls_c_has_its_go_callers_labels_and_creator(service):
    running = service("cgo", "-burn", flags=STRIPPED)
    profile = taken(BpfTracer(Host(), real_target(running.pid)), enough=60)
    burning = [one for names, one in stacks(profile) if "main.callC" in names and one.frames]
    assert sum(one.count for one in burning) > 0.7 * profile.samples
    in_c = [names for names, one in stacks(profile) if "[C]" in names]
    assert in_c
    assert all(names.index("[C]") < names.index("runtime.cgocall") < names.index("main.callC") for names in in_c)
    labels = {json.dumps(profile.label_sets[one.labels]) for one in burning if one.labels >= 0}
    assert labels == {'{"job": "burn"}'}
    assert profile.attributed >= 0.9 * profile.samples


def test_a_program_that_is_not_go_has_names_from_its_own_symbols():
    code = "while True: sum(i * i for i in range(5000))"
    with subprocess.Popen([sys.executable, "-c", code]) as busy:
        try:
            profile = taken(BpfTracer(Host(), real_target(busy.pid)))
            with pytest.raises(GotriageError, match="no goroutines"):
                WallTracer(Host(), real_target(busy.pid)).start({})
        finally:
            busy.kill()
    assert profile.attributed is None
    named = {frame.function for frame in profile.frames if frame.kind == "c" and frame.named}
    assert any("Eval" in name or "Py" in name or "gen_" in name for name in named), named


def test_where_all_goroutines_are_by_the_clock(service):
    running = service("parked", "-n=500", flags=STRIPPED)
    profile = taken(WallTracer(Host(), real_target(running.pid)), enough=5000)
    with attach(running.pid) as runtime:
        dump = runtime.dump(0, locks=False)
    assert isinstance(profile, WallProfile)
    assert profile.looks >= 5
    assert profile.samples == sum(one.count for one in profile.stacks)
    assert profile.goroutines == pytest.approx(dump.count, abs=20)
    idle = [(names, one) for names, one in stacks(profile) if "main.takeJob" in names]
    ((names, one),) = idle
    assert one.count == 500 * profile.looks
    assert (names[0], profile.states[one.state]) == ("runtime.gopark", "chan receive")
    assert profile.sites[one.creator].function == "main.parkWorkers"
    reasons = {reason for reason, count in dump.reasons.items() if count > 1}
    assert reasons <= set(profile.states)
    labelled = [profile.label_sets[one.labels] for names, one in stacks(profile) if "main.waitLabelled" in names]
    assert {"path": "/orders", "user": "ann"} in labelled


def test_stacks_that_are_kept_from_sample_to_sample_are_those_that_are_read(service):
    """With goroutines that come, go and move, a look that keeps what has not moved is like one that reads all."""
    running = service("parked", "-n=200", "-churn=500", "-spin=2", flags=STRIPPED)
    names = Profiling(running.pid)
    try:
        names.wall(1.0, 10.0, begin=True)
        kept = names.wall(0.0, 10.0, begin=False)
    finally:
        names.close()
    with attach(running.pid) as runtime:
        dump = runtime.dump(0, locks=False)
    read = {
        tuple(frame.function for frame in stack.frames if frame.function != "runtime.goexit") for stack in dump.stacks
    }
    steady = {
        tuple(kept.places[place].function for place in kept.stacks[group.stack])
        for group in kept.groups
        if group.stack >= 0 and group.count >= kept.samples
    }
    steady = {names for names in steady if names and "main.shortLived" not in names}  # those come and go
    assert len(steady) > 20
    assert steady <= read


def test_a_command_takes_one_and_go_tool_pprof_reads_it(spinning, tmp_path):
    file = tmp_path / "cpu.pb.gz"
    words = [sys.executable, "-m", "gotriage", "show", "profile", "--pid", str(spinning.pid), "--for", "2s"]
    done = subprocess.run([*words, "--export", "pprof", "-o", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert gzip.decompress(file.read_bytes())
    go = [toolchain.toolchain(), "tool", "pprof", "-top", "-unit=ms", file]
    top = subprocess.run(go, capture_output=True, text=True, check=True, env=toolchain.environment()).stdout
    assert "main.spinStep" in top
    assert "Type: cpu" in top


# -- where it may not


def no_perf_events():
    """A seccomp filter that refuses perf_event_open(2), as container engines' do (seccomp(2), linux/filter.h)."""
    number = {"x86_64": 298, "aarch64": 241}[platform.machine()]
    program = b"".join(
        struct.pack("=HBBI", *line)
        for line in ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000))
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    filters = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 4, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, filters, 0, 0) == 0


def test_without_perf_events_it_says_so_and_the_clock_still_tells(spinning):
    words = [sys.executable, "-m", "gotriage", "show", "profile", "--pid", str(spinning.pid), "--for", "1s"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=no_perf_events)
    assert done.returncode in (69, 77)
    assert "seccomp" in done.stderr
    assert "wall-clock" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run(
        [*words, "--trace", "wall", "--json"], capture_output=True, text=True, check=False, preexec_fn=no_perf_events
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["looks"] >= 1


def test_a_target_that_ends_meanwhile_and_one_that_is_started_anew(service):
    running = service("parked", "-plain", "-n=10", "-spin=1", flags=STRIPPED)
    tracer = BpfTracer(Host(), real_target(running.pid))
    tracer.start({"window": "1"})
    try:
        time.sleep(1.2)
        (first,) = tracer.collect()
        running.stop()
        (second,) = tracer.collect()
    finally:
        tracer.stop()
    assert second.run == first.run + 1
    assert not list(tracer.collect())
