"""Frames of every function as Go's own runtime has them, for every Go version and way to build."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from gotriage.goruntime import image
from gotriage.goruntime.live import LiveMemory
from gotriage.goruntime.symbols import printed, shown

from tests.lab.toolchain import NEWEST, QUICK, VERSIONS, build

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = VERSIONS[0]
PIE = ("-buildmode=pie", "-ldflags=-linkmode=external -s -w")
WAYS = {
    # CGO_ENABLED, flags
    "plain": (False, ()),
    "stripped": (False, ("-ldflags=-s -w",)),
    "cgo, stripped": (True, ("-ldflags=-linkmode=external -s -w",)),
    "pie": (False, ("-buildmode=pie",)),
    "pie, external, stripped": (True, PIE),
    "race": (True, ("-race",)),
    "without optimisation": (False, ("-gcflags=all=-N -l",)),
    "without section headers": (False, ()),
    "pie without section headers": (True, PIE),
}
LONG = ("race", "without optimisation")
"""These build the standard library anew."""
CASES = [
    pytest.param(
        version, way, marks=() if version in QUICK and way not in LONG else pytest.mark.slow, id=f"{version}, {way}"
    )
    for version in VERSIONS
    for way in WAYS
]


def without_sections(binary, folder):
    """A copy whose ELF header names no section headers."""
    data = bytearray(binary.read_bytes())
    struct.pack_into("<Q", data, 40, 0)
    struct.pack_into("<HH", data, 60, 0, 0)
    copy = folder / binary.name
    copy.write_bytes(data)
    copy.chmod(0o755)
    return copy


@contextmanager
def running(*command) -> Iterator[subprocess.Popen[str]]:
    """A program that has said "ready" and waits for its input to end."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def ask(process, pcs):
    """What the runtime in the process makes of return addresses: a list of (function, file, line) for each."""

    def write():
        for pc in pcs:
            process.stdin.write(f"{pc:x}\n")
        process.stdin.flush()

    writer = threading.Thread(target=write)
    writer.start()
    answers = [json.loads(process.stdout.readline()) for _ in pcs]
    writer.join()
    return [[(frame["function"], frame["file"], frame["line"]) for frame in answer] for answer in answers]


def differences(functions, pcs, answers):
    """Where we and Go disagree, but for two known quirks of runtime.CallersFrames.

    It shows a wrapper on its own, which a stack trace never does; and it has no name for the function whose name
    is the first of the table.
    """
    wrong = []
    for pc, answer in zip(pcs, answers, strict=True):
        ours = [(frame.function, frame.file, frame.line) for frame in functions.frames(pc)]
        if functions.func_id(functions.find(pc)) == functions.wrapper:
            answer = answer[: len(ours)]
        if len(ours) != len(answer) or any(a != b and b[0] for a, b in zip(ours, answer, strict=True)):
            wrong.append((hex(pc), ours, answer))
    return wrong


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("version", "way"), CASES)
def test_frames_are_those_of_the_runtime(version, way, tmp_path):
    cgo, flags = WAYS[way]
    binary = build("symbols", version, cgo=cgo, flags=flags)
    if "without section" in way:
        binary = without_sections(binary, tmp_path)
    rng = random.Random(version)
    with running(binary) as process:
        memory = LiveMemory(process.pid)
        found = image.find(memory)
        functions = found.functions
        pcs = [
            rng.randrange(functions.entry(i) + 1, functions.end(i))
            for i in range(functions.count)
            for _ in range(2)
            if functions.end(i) - functions.entry(i) > 1
        ]
        answers = ask(process, pcs)
        assert not differences(functions, pcs, answers)[:3]
        inlined = sum(len(answer) > 1 for answer in answers)
        assert inlined > 300 or way == "without optimisation"
        assert found.go_version == f"go{version}"
        assert found.stripped == ("-s -w" in " ".join(flags) or "without section" in way)
        assert not found.garbled
        assert (len(found.modules), found.others, found.path) == (1, (), str(binary))
        found.close()
        memory.close()


@pytest.mark.real
def test_a_new_process_needs_little_time_and_memory():
    """The whole table is not read: a look at a big program touches a small part of it."""
    binary = build("symbols", NEWEST)
    with running(binary) as process:
        memory = LiveMemory(process.pid)
        found = image.find(memory)
        main = found.functions.entry(found.functions.by_name("main.main"))
        assert found.functions.frames(main + 1)[-1].function == "main.main"
        assert sum(map(len, found.binaries[0]._blocks.values())) < binary.stat().st_size / 2
        found.close()
        memory.close()


@pytest.mark.real
def test_a_wrapper_that_called_a_panic_is_shown():
    with running(build("symbols", NEWEST)) as process:
        memory = LiveMemory(process.pid)
        functions = image.find(memory).functions
        wrapper = next(
            i for i in range(functions.count)
            if functions.func_id(i) == functions.wrapper and functions.name(i).startswith("main.(*square)")
        )  # fmt: skip
        pc = functions.end(wrapper) - 1
        panic = functions.func_id(functions.by_name("runtime.panicwrap"))
        assert "main.(*square).area" not in {frame.function for frame in functions.frames(pc)}
        assert functions.frames(pc, callee=panic)[-1].function == "main.(*square).area"
        assert functions.site(pc).function == "main.(*square).area"
        memory.close()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("main.main", "main.main", "main.main"),
        ("main.F[...]", "main.F[...]", "main.F[...]"),
        ("main.F[go.shape.int]", "main.F[...]", "main.F[...]"),
        ("main.(*T[go.shape.[]int]).Do.func1", "main.(*T[...]).Do.func1", "main.(*T[...]).Do.func1"),
        ("main.F[go.shape.[]int].G[go.shape.int]", "main.F[...]", "main.F[...].G[...]"),
        ("main.(*T[int]).M[string].func1", "main.(*T[...].func1", "main.(*T[...]).M[...].func1"),
        ("main.F[]a]b[", "main.F[...]b[", "main.F[...]b["),
        ("main.F[a][b", "main.F[...][b", "main.F[...][b"),
        ("main.F[a[b]", "main.F[...]", "main.F[a[b]"),
        ("main.]F[", "main.]F[", "main.]F["),
        ("", "", ""),
    ],
)
def test_names_are_printed_as_go_does(name, old, new):
    assert printed(name, (1, 26)) == old
    assert printed(name, (1, 27)) == printed(name, None) == new


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("main.main", True), ("net/http.(*Server).Serve", True), ("_cgoexp_0a1b", False), ("runtime.gopark", False),
        ("runtime.GC", True), ("runtime.(*Func).Entry", True), ("runtime.(*mheap).Alloc", False),
        ("runtime.main.func1", False), ("runtime.runCleanups", True), ("internal/poll.runtime_pollWait", True),
        ("sync.runtime_Semacquire", True), ("runtime/debug.FreeOSMemory", True), ("runtime.", False),
        ("runtime", False), ("", False),
    ],
)  # fmt: skip
def test_what_a_trace_shows(name, is_shown):
    assert shown(name) == shown(name, version=(1, 27)) == is_shown


def test_what_a_trace_shows_depends_on_place_and_version():
    assert shown("runtime.gopanic")
    assert not shown("runtime.gopanic", first=True)
    assert not shown("runtime.(*Func).Entry", version=(1, 22))
    assert not shown("runtime.runFinalizers", version=(1, 24))
