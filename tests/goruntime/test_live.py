"""The memory of live processes: what is mapped, its files, and how a process is noticed to be another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gotriage.errors import TargetGone
from gotriage.goruntime.live import LiveMemory, arch_of
from gotriage.goruntime.memory import Region, Unreadable
from gotriage.host import Host
from gotriage.host.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEPER = """
import ctypes, os, sys
text = ctypes.create_string_buffer(b"a text of its own" * 1000)
print(ctypes.addressof(text), flush=True)
word = sys.stdin.readline()
if word == "exec\\n":
    os.execv(sys.executable, [sys.executable, "-c", "print('new', flush=True); input()"])
"""


@contextmanager
def child(program: str = sys.executable) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process and the address of a text in it."""
    with subprocess.Popen(
        [program, "-S", "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def attached(pid: int) -> Iterator[LiveMemory]:
    memory = LiveMemory(pid)
    try:
        yield memory
    finally:
        memory.close()


def test_bytes_of_a_process():
    with child() as (process, address), attached(process.pid) as memory:
        assert (memory.live, memory.pid) == (True, process.pid)
        assert memory.arch == {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        assert memory.read(address, 17) == b"a text of its own"
        data, offsets, whole = memory.read_many(np.array([address + 17, 64, address], np.uint64), np.array([6, 5, 2]))
        assert (data.tobytes(), offsets.tolist(), whole.tolist()) == (
            b"a text\0\0\0\0\0a ",
            [0, 6, 11, 13],
            [True, False, True],
        )
        with pytest.raises(Unreadable, match="no memory at 0x40"):
            memory.read(64, 8)


def test_regions():
    with child() as (process, address), attached(process.pid) as memory:
        regions = memory.regions()
        assert list(regions) == sorted(regions)
        (region,) = (r for r in regions if r.start <= address < r.end)
        assert "w" in region.perms
        (stack,) = (r for r in regions if r.path == "[stack]")
        with pytest.raises(Unreadable, match="no memory"):
            memory.read(stack.end - 8, 16)


def test_files_also_after_they_are_deleted(tmp_path: Path):
    program = str(shutil.copy(os.path.realpath(sys.executable), tmp_path / "python"))
    facts = os.stat(program)
    with child(program) as (process, _), attached(process.pid) as memory:
        region = next(r for r in memory.regions() if r.path == program)
        assert region.inode == facts.st_ino
        for _ in ("there", "deleted"):
            region = next(r for r in memory.regions() if r.inode == facts.st_ino)
            for fd in (memory.executable(), memory.file_of(region)):
                assert os.fstat(fd).st_ino == facts.st_ino
                os.close(fd)
            if os.path.exists(program):
                os.unlink(program)
        with pytest.raises(Unreadable):
            memory.file_of(Region(4096, 8192, "rw-p", "", 0))


def test_a_file_by_its_path(monkeypatch, tmp_path: Path):
    """As without CAP_SYS_ADMIN: /proc/PID/map_files may not be used."""
    open_file = LiveMemory._open

    def refuse(self: LiveMemory, path: str) -> int:
        if "map_files" in path:
            raise PermissionError(1, "Operation not permitted", path)
        return open_file(self, path)

    monkeypatch.setattr(LiveMemory, "_open", refuse)
    program = str(shutil.copy(os.path.realpath(sys.executable), tmp_path / "python"))
    with child(program) as (process, _), attached(process.pid) as memory:
        region = next(r for r in memory.regions() if r.path == program)
        fd = memory.file_of(region)
        assert os.fstat(fd).st_ino == region.inode
        os.close(fd)
        os.rename(program, tmp_path / "old")
        shutil.copy(tmp_path / "old", program)
        with pytest.raises(Unreadable, match="another file by now"):
            memory.file_of(region)


def test_an_end_is_noticed():
    with child() as (process, address), attached(process.pid) as memory:
        process.kill()
        process.wait()
        for look in (
            lambda: memory.read(address, 8),
            lambda: memory.read_many(np.array([address], np.uint64), 8),
            memory.regions,
            memory.check,
        ):
            with pytest.raises(TargetGone):
                look()
        with pytest.raises((TargetGone, FileNotFoundError)):
            memory.executable()
        with pytest.raises(TargetGone):
            LiveMemory(process.pid)


def test_an_exec_is_noticed_also_of_the_same_program():
    with child() as (process, address), attached(process.pid) as memory:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("exec\n")
        process.stdin.flush()
        assert process.stdout.readline() == "new\n"
        for look in (
            lambda: memory.read(address, 8),
            lambda: memory.read_many(np.array([address], np.uint64), 8),
            memory.regions,
            memory.executable,
        ):
            with pytest.raises(TargetGone, match=f"process {process.pid} runs another program since: /"):
                look()
        with attached(process.pid) as new:
            assert new.regions()


def test_another_process_with_the_number(monkeypatch):
    with child() as (process, _), attached(process.pid) as memory:
        process.kill()
        process.wait()
        memory._pinned._pid = os.getpid()
        with pytest.raises(TargetGone, match="another one has its number"):
            memory.check()


def test_a_zombie_and_a_kernel_thread():
    with child() as (process, _):
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(TargetGone, match="has ended"):
            LiveMemory(process.pid)
    for pid in Proc().pids():
        try:
            if not Proc().stat(pid).is_kernel_thread:
                continue
        except TargetGone:
            continue
        with pytest.raises(TargetGone, match="is a kernel thread"):
            LiveMemory(pid)
        break


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_process_of_another_user():
    code = (
        f"from gotriage.goruntime.live import *\ntry: LiveMemory({os.getpid()})\nexcept Exception as e: print(repr(e))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, user=65534, check=True)
    assert done.stdout.startswith("NotPermitted('the memory of process"), done.stdout


def test_a_rate():
    with child() as (process, address):
        memory = LiveMemory(process.pid, Host(), rate=1 << 30)
        assert memory.read_many(np.array([address], np.uint64), 6)[0].tobytes() == b"a text"
        memory.close()


def test_machines():
    assert arch_of(b"") == arch_of(b"#!/bin/sh\n" * 4) == ""
    head = bytearray(64)
    head[:6] = b"\x7fELF\2\1"
    for machine, name in ((62, "amd64"), (183, "arm64"), (3, "386"), (999, "ELF machine 999")):
        head[18:20] = machine.to_bytes(2, "little")
        assert arch_of(bytes(head)) == name
    head[5], head[18:20] = 2, (22).to_bytes(2, "big")
    assert arch_of(bytes(head)) == "s390x"


def test_reads_leave_no_descriptor_open():
    before = sorted(os.listdir("/proc/self/fd"))
    with child() as (process, address), attached(process.pid) as memory:
        memory.read(address, 8)
    assert sorted(os.listdir("/proc/self/fd")) == before
