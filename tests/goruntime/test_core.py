"""The memory of core files: of the kernel, of gcore, packed, cut, and hostile."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gotriage.errors import GotriageError
from gotriage.goruntime import buildinfo
from gotriage.goruntime.core import CoreMemory
from gotriage.goruntime.corefile import BadCore
from gotriage.goruntime.memory import Unreadable
from gotriage.host import unpack

from tests.goruntime import cores
from tests.goruntime.cores import Made

if TYPE_CHECKING:
    from collections.abc import Callable

R, W, X = 4, 2, 1
PAGE = 4096


def text_of(memory: CoreMemory, address: int, size: int) -> bytes:
    data, _, whole = memory.read_many(np.array([address], np.uint64), size)
    assert whole.all()
    assert data.tobytes() == memory.read(address, size)
    return data.tobytes()


# -- real ones


@pytest.fixture(scope="module")
def program(build) -> str:
    return str(build("svc"))


@pytest.fixture(scope="module")
def crashed(program: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    if not cores.cores_come_as_files():
        pytest.skip("the kernel hands core files to a program here")
    return cores.of_crash(program, ["-tick=10ms"], tmp_path_factory.mktemp("crash"))


def is_the_service(memory: CoreMemory, program: str, pid: int) -> None:
    """Its program, its threads, and its bytes: those in the core file and those that only the program's file has."""
    assert (memory.arch, memory.pid, memory.live) == ("amd64", pid, False)
    assert memory.program == program
    assert memory.command.startswith(program[:70])
    assert len(memory.threads) > 2
    regions = memory.regions()
    assert list(regions) == sorted(regions)
    assert all(a.end <= b.start for a, b in pairwise(regions))
    own = [r for r in regions if r.path == program]
    code = next(r for r in own if "x" in r.perms)
    file = Path(program).read_bytes()
    for size in (64, 3 * PAGE + 5):
        assert text_of(memory, code.start + 8 * PAGE, size) == file[code.offset + 8 * PAGE :][:size]
    fd = memory.executable()
    assert buildinfo.read(fd) is not None
    os.close(fd)
    os.close(memory.file_of(code))
    for thread in memory.threads:
        assert memory.read(thread.sp, 8)
        assert thread.registers["rip"] == thread.pc
        stack = next(r for r in regions if r.start <= thread.sp < r.end)
        assert "r" in stack.perms


@pytest.mark.real
def test_a_core_of_the_kernel(crashed: tuple[str, int], program: str):
    memory = CoreMemory(crashed[0])
    is_the_service(memory, program, crashed[1])
    assert memory.signal == 6
    assert memory.problems == []
    memory.close()


@pytest.mark.real
def test_a_core_of_gcore(program: str, service, tmp_path: Path):
    running = service("svc", "-tick=10ms")
    core = cores.of_gcore(running.pid, tmp_path)
    memory = CoreMemory(core)
    is_the_service(memory, program, running.pid)
    memory.close()


@pytest.mark.real
def test_a_packed_core(crashed: tuple[str, int], program: str, tmp_path: Path):
    packed = tmp_path / "core.svc.0.zst"
    subprocess.run(["zstd", "-q", "-1", crashed[0], "-o", packed], check=True)
    memory = CoreMemory(str(packed))
    is_the_service(memory, program, crashed[1])
    facts = os.fstat(memory._fd)
    assert facts.st_nlink == 0
    assert facts.st_size == os.stat(crashed[0]).st_size
    memory.close()


@pytest.mark.real
def test_a_program_elsewhere(crashed: tuple[str, int], build, tmp_path: Path):
    """The core names a path at which there is nothing any more; --exe tells."""
    data = Path(crashed[0]).read_bytes()
    name = str(build("svc")).encode()
    core = tmp_path / "core"
    core.write_bytes(data.replace(name + b"\0", b"/nowhere".ljust(len(name), b"x") + b"\0"))
    memory = CoreMemory(str(core))
    code = next(r for r in memory.regions() if r.path == memory.program and r.offset == 0)
    with pytest.raises(Unreadable, match=r"No such file or directory; name the program of the core file with --exe"):
        memory.read(code.start + 8 * PAGE, 8)
    with pytest.raises(Unreadable, match="--exe"):
        memory.executable()
    memory.close()
    memory = CoreMemory(str(core), str(shutil.copy(build("svc"), tmp_path / "other-name")))
    assert memory.read(code.start + 8 * PAGE, 8) == Path(build("svc")).read_bytes()[8 * PAGE :][:8]
    memory.close()


@pytest.mark.real
def test_a_program_that_is_not_the_core_s(crashed: tuple[str, int], build, tmp_path: Path):
    other = str(build("svc", go="1.21.13"))
    with pytest.raises(BadCore, match=r"is not the program of this core: its build id is \S+, that of the core's"):
        CoreMemory(crashed[0], other)
    CoreMemory(crashed[0], other, trust=True).close()
    with pytest.raises(BadCore, match="there is no such file"):
        CoreMemory(crashed[0], str(tmp_path / "nothing"))
    with pytest.raises(BadCore, match="but not a core file; a program is named with --exe"):
        CoreMemory(other)


@pytest.mark.real
def test_a_cut_core(crashed: tuple[str, int], tmp_path: Path):
    core = tmp_path / "core"
    with open(crashed[0], "rb") as file:
        core.write_bytes(file.read(300_000))
    memory = CoreMemory(str(core))
    assert any("the core file is cut: of " in problem for problem in memory.problems)
    with pytest.raises(Unreadable):
        memory.read(memory.threads[0].sp, 8)
    memory.close()


# -- made to measure


def made(tmp_path: Path, *, mapped: bytes = b"") -> tuple[Made, Path]:
    """A file of four pages mapped at 0x400000, of which the first is in the core; a stack; a hole."""
    file = tmp_path / "program"
    content = (b"\x7fELF" + random.Random(1).randbytes(4 * PAGE))[: 4 * PAGE]
    file.write_bytes(mapped or content)
    core = Made()
    core.segments = [
        (0x400000, content[:PAGE], 3 * PAGE, R | X),
        (0x500000, b"s" * 100 + b"t" * (PAGE - 100), PAGE, R | W),
        (0x501000, b"u" * PAGE, 2 * PAGE, R | W),
        (0x600000, b"", PAGE, R | W),
    ]
    name = os.fsencode(file)
    core.notes = (
        cores.prstatus(11, {19: 0x500010, 16: 0x400020, 4: 7}, signal=11)
        + cores.prpsinfo(10, b"program -x ")
        + cores.prstatus(12, {})
        + cores.files([(0x400000, 0x404000, 0, name), (0x600000, 0x601000, PAGE, name)])
        + cores.note(6, struct.pack("<QQQQ", 9, 0x400010, 0, 0))
    )
    return core, file


def test_what_it_says(tmp_path: Path):
    core, file = made(tmp_path)
    memory = CoreMemory(core.write(tmp_path / "core"))
    assert (memory.pid, memory.command, memory.signal, memory.program) == (10, "program -x", 11, str(file))
    assert [(t.tid, t.sp, t.pc, t.bp) for t in memory.threads] == [(11, 0x500010, 0x400020, 7), (12, 0, 0, 0)]
    assert memory.made == os.stat(tmp_path / "core").st_mtime
    regions = [(r.start, r.end, r.perms, r.path, r.offset) for r in memory.regions()]
    assert regions == [
        (0x400000, 0x403000, "r-xp", str(file), 0),
        (0x403000, 0x404000, "r--p", str(file), 3 * PAGE),
        (0x500000, 0x501000, "rw-p", "", 0),
        (0x501000, 0x503000, "rw-p", "", 0),
        (0x600000, 0x601000, "rw-p", str(file), PAGE),
    ]
    memory.close()


def test_bytes_of_the_core_and_of_the_file(tmp_path: Path):
    core, file = made(tmp_path)
    memory = CoreMemory(core.write(tmp_path / "core"))
    assert memory.read(0x400000, 4 * PAGE) == file.read_bytes()
    assert memory.read(0x500FFC, 8) == b"ttttuuuu"
    assert memory.read(0x500000, 0) == b""
    for address, size in ((0x404000, 1), (0x403FFF, 2), (0x501FFF, 2), (0x600000, 1), (0, 1), (1 << 64, 1), (-1, 1)):
        with pytest.raises(Unreadable):
            memory.read(address, size)
    addresses = np.array([0x500000, 0x501FFF, 0x400FFE, 0x500FFE, 2**64 - 1, 0x500062, 0x500000], np.uint64)
    data, offsets, whole = memory.read_many(addresses, np.array([2, 2, 4, 4, 9, 4, -1]))
    assert whole.tolist() == [True, False, True, True, False, True, False]
    assert data.tobytes() == b"ss\0\0" + file.read_bytes()[PAGE - 2 : PAGE + 2] + b"ttuu" + bytes(9) + b"sstt"
    assert offsets.tolist() == [0, 2, 4, 8, 12, 21, 25, 25]
    many = np.tile(np.arange(0x500000, 0x501000, 8, dtype=np.uint64), 40)
    data, _, whole = memory.read_many(many, 8)
    assert whole.all()
    assert data.tobytes() == (b"s" * 100 + b"t" * (PAGE - 100)) * 40
    memory.close()


def test_a_file_that_is_another_by_now(tmp_path: Path):
    core, file = made(tmp_path, mapped=b"\x7fELF" + bytes(5 * PAGE))
    memory = CoreMemory(core.write(tmp_path / "core"))
    with pytest.raises(Unreadable, match="is another file by now: its ELF header is another one; name the program"):
        memory.read(0x401000, 8)
    memory.close()
    with pytest.raises(BadCore, match="is not the program of this core"):
        CoreMemory(str(tmp_path / "core"), str(file))


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str):
    path = tmp_path / "strange"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(BadCore):
        CoreMemory(str(path))
    core, _ = made(tmp_path)
    os.replace(path, tmp_path / "program.") if kind == "folder" else os.replace(path, tmp_path / "program")
    if kind != "folder":
        memory = CoreMemory(core.write(tmp_path / "core"))
        with pytest.raises(Unreadable):
            memory.read(0x401000, 8)
        memory.close()


def test_more_segments_than_fit_the_header(tmp_path: Path):
    core, _ = made(tmp_path)
    core.many = True
    memory = CoreMemory(core.write(tmp_path / "core"))
    assert len(memory.regions()) == 5
    memory.close()


def test_arm64(tmp_path: Path):
    core, _ = made(tmp_path)
    core.machine = 183
    core.notes = cores.prstatus(5, {31: 0x500010, 32: 0x400020, 29: 0x500020}, 34)
    memory = CoreMemory(core.write(tmp_path / "core"))
    assert memory.arch == "arm64"
    assert [t[:4] for t in memory.threads] == [(5, 0x500010, 0x400020, 0x500020)]
    assert memory.threads[0].registers["pc"] == 0x400020
    memory.close()


def change(at: int, data: bytes) -> Callable[[bytes], bytes]:
    return lambda core: core[:at] + data + core[at + len(data) :]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (lambda core: b"", "not an ELF core file"),
        (lambda core: core[:40], "only 64-bit little-endian"),
        (change(4, b"\1"), "only 64-bit little-endian"),
        (change(18, b"\x08\0"), "a core file of mips"),
        (change(16, b"\2"), "but not a core file"),
        (change(54, b"\x20\0"), "program headers of 32 bytes"),
        (change(32, b"\xff" * 8), "its table of segments is missing"),
        (change(56, b"\0\0"), "its table of segments is missing"),
        (lambda core: core[:200], "its table of segments is missing"),
        (lambda core: change(40, b"\xff" * 8)(change(56, b"\xff\xff")(core)), "the number of its segments is missing"),
        (lambda core: b"\x04\x22\x4d\x18" + core, r"compressed with lz4: unpack it first: lz4 -d /"),
        (lambda core: b"\xfd7zXZ\0" + core, r"compressed with xz: unpack it first: xz -dk /"),
        (lambda core: b"\x1f\x8b" + core, "compressed with gzip"),
        (lambda core: unpack.ZSTD + core, "damaged"),
    ],
)
def test_what_is_no_core_file(tmp_path: Path, changed: Callable[[bytes], bytes], text: str):
    core, _ = made(tmp_path)
    path = tmp_path / "core"
    path.write_bytes(changed(core.bytes()))
    fds = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(BadCore, match=text) as caught:
        CoreMemory(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert sorted(os.listdir("/proc/self/fd")) == fds


def test_unpacking_is_bounded(tmp_path: Path):
    import zstandard

    bomb = tmp_path / "bomb.zst"
    bomb.write_bytes(zstandard.ZstdCompressor().compress(bytes(64 << 20)))
    fd = os.open(bomb, os.O_RDONLY)
    with pytest.raises(unpack.Unpackable, match="longer than"):
        unpack.plain(fd, "bomb", most=32 << 20)
    plain = unpack.plain(fd, "bomb", place=str(tmp_path))
    assert os.fstat(plain).st_size == 64 << 20
    assert os.fstat(plain).st_blocks < 100, "zeros take no room"
    os.close(plain)
    os.close(fd)


def test_no_room_to_unpack(tmp_path: Path, monkeypatch):
    import zstandard

    monkeypatch.setattr(unpack, "SPARE", 1 << 60)
    core, _ = made(tmp_path)
    path = tmp_path / "core.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(core.bytes()))
    with pytest.raises(BadCore, match="too little room in /var/tmp"):
        CoreMemory(str(path))


@pytest.mark.parametrize("seed", range(40))
def test_mutated_ones(tmp_path: Path, seed: int):
    """Whatever a core file holds: an error of ours or an answer, in bounded time and memory."""
    chance = random.Random(seed)
    core, _ = made(tmp_path)
    good = core.bytes()
    path = tmp_path / "core"
    for _ in range(25):
        data = bytearray(good)
        for _ in range(chance.choice((1, 2, 8, 40))):
            at = chance.randrange(min(len(data), chance.choice((400, 1600, len(data)))))
            size = chance.choice((1, 2, 4, 8))
            data[at : at + size] = chance.choice((chance.randbytes(size), b"\xff" * size, bytes(size)))
        path.write_bytes(data[: len(data) if chance.random() < 0.8 else chance.randrange(len(data))])
        try:
            memory = CoreMemory(str(path))
        except BadCore:
            continue
        for region in memory.regions()[:20]:
            for address in (region.start, max(region.start, region.end - 8)):
                with suppress(GotriageError):
                    memory.read(address, 16)
        starts = np.array([r.start for r in memory.regions()], np.uint64)
        memory.read_many(starts, 64)
        memory.read_many(np.frombuffer(chance.randbytes(800), np.uint64), 64)
        memory.close()


def test_garbage(tmp_path: Path):
    chance = random.Random(3)
    path = tmp_path / "core"
    head = made(tmp_path)[0].bytes()[:64]
    for _ in range(100):
        path.write_bytes(head + chance.randbytes(chance.randrange(4000)))
        with suppress(BadCore):
            CoreMemory(str(path)).close()
