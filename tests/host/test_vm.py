"""Memory of another process: many pieces, holes among them, and every refusal."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gotriage.errors import NotPermitted, TargetGone
from gotriage.host import clock, privilege, scatter, vm

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Area:
    """Memory of ours with known bytes; a forked child has it at the same address."""

    def __init__(self, pages: int) -> None:
        self._map = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.bytes = np.frombuffer(self._map, np.uint8)
        self.bytes[:] = np.random.default_rng(7).integers(0, 256, len(self.bytes), np.uint8)
        self.start = self.bytes.ctypes.data
        self.copy = self.bytes.copy()

    def forbid(self, page: int) -> None:
        assert _libc.mprotect(self.start + page * PAGE, PAGE, 0) == 0

    def allow_all(self) -> None:
        assert _libc.mprotect(self.start, len(self.copy), mmap.PROT_READ | mmap.PROT_WRITE) == 0


def forked() -> int:
    """A child with a copy of our memory, which waits for its end."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture(scope="module")
def area() -> Area:
    return Area(512)


@pytest.fixture
def other(area: Area) -> Iterator[int]:
    """A child in which every seventh page of the area may not be read."""
    for page in range(3, 512, 7):
        area.forbid(page)
    pid = forked()
    area.allow_all()
    try:
        yield pid
    finally:
        end(pid)


def expected(area: Area, addresses: np.ndarray, sizes: np.ndarray) -> tuple[bytes, list[bool]]:
    parts, whole = [], []
    for address, size in zip((addresses - np.uint64(area.start)).tolist(), sizes.tolist(), strict=True):
        pages = range(address // PAGE, (address + size - 1) // PAGE + 1) if size else ()
        good = not any(page % 7 == 3 for page in pages)
        parts.append(area.copy[address : address + size].tobytes() if good else bytes(size))
        whole.append(good)
    return b"".join(parts), whole


def test_one_piece(area: Area, other: int):
    assert vm.read(other, area.start + 5, 3 * PAGE - 5) == area.copy[5 : 3 * PAGE].tobytes()
    assert vm.read(other, area.start + 2 * PAGE, 2 * PAGE) == area.copy[2 * PAGE : 3 * PAGE].tobytes()
    assert vm.read(other, area.start + 3 * PAGE, 8) == b""


@pytest.mark.parametrize(
    ("address", "size"), [(0, 8), (-8, 8), (1 << 64, 8), ((1 << 64) - 4, 8), (1 << 63, 8), (8, -1)]
)
def test_addresses_that_no_process_has(other: int, address: int, size: int):
    assert vm.read(other, address, size) == b""


@pytest.mark.parametrize("gap", [0, 64])
@pytest.mark.parametrize("seed", range(6))
def test_many_pieces_in_any_order_with_holes(area: Area, other: int, seed: int, gap: int):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 6000))
    sizes = random.integers(0, (16, 300, 9000)[seed % 3], count).astype(np.int64)
    addresses = (random.integers(0, 500 * PAGE, count) + area.start).astype(np.uint64)
    if seed % 2:
        addresses.sort()
    data, offsets, whole = vm.read_many(other, addresses, sizes, gap=gap)
    bytes_there, whole_there = expected(area, addresses, sizes)
    assert offsets.tolist() == [0, *np.cumsum(sizes).tolist()]
    assert whole.tolist() == whole_there
    assert data.tobytes() == bytes_there


@pytest.mark.parametrize("stride", [456, 480, 512, 521])
def test_neighbours(area: Area, other: int, stride: int):
    addresses = np.arange(area.start, area.start + 511 * PAGE, stride, dtype=np.uint64)
    data, _, whole = vm.read_many(other, addresses, 456)
    sizes = np.full(len(addresses), 456)
    assert (data.tobytes(), whole.tolist()) == expected(area, addresses, sizes)


def test_no_pieces_and_bad_ones(area: Area, other: int):
    data, offsets, whole = vm.read_many(other, np.zeros(0, np.uint64), 8)
    assert (len(data), offsets.tolist(), len(whole)) == (0, [0], 0)
    good = area.start + 8 * PAGE
    addresses = np.array([0, good, 2**64 - 1, good, 2**63, good], np.uint64)
    data, offsets, whole = vm.read_many(other, addresses, np.array([8, 8, 8, -1, 16, 0]))
    assert whole.tolist() == [False, True, False, False, False, True]
    assert data.tobytes() == bytes(8) + area.copy[8 * PAGE : 8 * PAGE + 8].tobytes() + bytes(24)
    assert offsets.tolist() == [0, 8, 16, 24, 24, 40, 40]


def test_a_million_small_pieces(area: Area, other: int):
    """That it is fast is measured in bench/; here that it is right, and needs few calls."""
    addresses = np.tile(np.arange(area.start, area.start + 2 * PAGE, 8, dtype=np.uint64), 1000)
    data, _, whole = vm.read_many(other, addresses, 8)
    assert whole.all()
    assert data.tobytes() == area.copy[: 2 * PAGE].tobytes() * 1000


def test_a_process_that_ended(area: Area):
    pid = forked()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for _ in ("a zombie", "gone"):
        with pytest.raises(TargetGone, match=f"process {pid} has ended"):
            vm.read(pid, area.start, 8)
        with pytest.raises(TargetGone):
            vm.read_many(pid, np.array([area.start], np.uint64), 8)
        os.waitpid(pid, 0) if _ == "a zombie" else None


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_process_of_another_user():
    code = f"from gotriage.host import vm\ntry: vm.read({os.getpid()}, 4096, 8)\nexcept Exception as e: print(repr(e))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, user=65534, check=True)
    assert done.stdout.startswith("NotPermitted('the memory of process")
    assert "run gotriage as root (sudo), it needs CAP_SYS_PTRACE" in done.stdout


@pytest.mark.parametrize(
    ("scope", "root", "names", "text"),
    [
        ("", True, ("CAP_SYS_PTRACE",), "despite CAP_SYS_PTRACE: a seccomp filter"),
        ("0\n", True, (), "this container lacks CAP_SYS_PTRACE"),
        ("1\n", False, (), "run gotriage as root (sudo), it needs CAP_SYS_PTRACE; kernel.yama.ptrace_scope is 1"),
        ("2\n", False, (), "kernel.yama.ptrace_scope is 2"),
        ("3\n", True, ("CAP_SYS_PTRACE",), "kernel.yama.ptrace_scope is 3: nobody may"),
    ],
)
def test_what_would_permit_it(monkeypatch, tmp_path, scope, root, names, text):
    file = tmp_path / "ptrace_scope"
    file.write_text(scope)
    monkeypatch.setattr(vm, "YAMA", str(file))
    monkeypatch.setattr(privilege, "capabilities", lambda: names)
    monkeypatch.setattr(privilege, "is_root", lambda: root)
    assert text in vm.refusal(42)


def test_errors_of_the_kernel(monkeypatch, area: Area):
    def refuse(code: int) -> None:
        monkeypatch.setattr(vm, "_readv", lambda *_: min(-1, ctypes.set_errno(code) * 0 - 1))

    refuse(1)
    with pytest.raises(NotPermitted):
        vm.read(os.getpid(), area.start, 8)
    refuse(12)
    with pytest.raises(MemoryError):
        vm.read_many(os.getpid(), np.array([area.start], np.uint64), 8)
    refuse(22)
    with pytest.raises(OSError, match="Invalid argument"):
        vm.read(os.getpid(), area.start, 8)


def test_a_rate_is_kept(monkeypatch, area: Area, other: int):
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    monkeypatch.setattr(clock, "sleep", sleep)
    monkeypatch.setattr(scatter, "MOST_BYTES", 8 * PAGE)
    addresses = np.full(64, area.start + PAGE, np.uint64)
    vm.read_many(other, addresses, PAGE, rate=vm.Rate(16 * PAGE))
    assert sum(slept) == pytest.approx(4.0 - vm.CREDIT)
    assert max(slept) <= 1.0
