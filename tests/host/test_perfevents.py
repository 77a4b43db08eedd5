"""What the kernel writes into a ring of perf events, taken apart; the real thing; and what it says when it refuses."""

from __future__ import annotations

import errno
import random
import struct
import subprocess
import sys

import pytest
from gotriage.errors import MissingFacility, NotPermitted, TargetGone
from gotriage.host import Host, perfevents
from gotriage.host.kallsyms import KernelSymbols
from gotriage.host.proc import Proc
from gotriage.host.runqueue import Turn, turns

from tests.lab.process import wait_until

KERNEL, USER = (1 << 64) - 128, (1 << 64) - 512


def sample(pid, chain, registers=(0xC000, 0xF00), words=(1, 2, 3, 4), abi=2):
    body = struct.pack("=IIQQ", pid, pid + 1, 77, len(chain)) + struct.pack(f"={len(chain)}Q", *chain)
    body += struct.pack("=Q", abi) + (struct.pack(f"={len(registers)}Q", *registers) if abi else b"")
    body += struct.pack("=Q", 8 * len(words)) + struct.pack(f"={len(words)}Q", *words)
    body += struct.pack("=Q", 8 * len(words)) if words else b""
    return struct.pack("=IHH", perfevents.SAMPLE, 2, 8 + len(body)) + body


def lost(count):
    return struct.pack("=IHHQQ", perfevents.LOST, 0, 24, 5, count)


def test_samples_have_both_stacks_registers_and_the_top_of_the_stack():
    data = sample(41, [KERNEL, 0xFFFF1, 0xFFFF2, USER, 0x401, 0x402]) + lost(3) + sample(42, [USER, 0x403], abi=0)
    found, missing = perfevents.parse(data, 2)
    assert missing == 3
    assert found[0] == perfevents.Sample(41, 42, 77, (0xFFFF1, 0xFFFF2), (0x401, 0x402), (1, 2, 3, 4), 0xF00, 0xC000)
    assert (found[1].user, found[1].g, found[1].link) == ((0x403,), 0, 0)


def test_what_makes_no_sense_ends_the_reading():
    data = sample(41, [USER, 0x401])
    assert perfevents.parse(data[:-9], 2) == ([], 0)
    assert perfevents.parse(struct.pack("=IHH", 9, 0, 4) + data, 2) == ([], 0)
    chance = random.Random(7)
    for _ in range(300):
        changed = bytearray(data * 3)
        for _ in range(4):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        perfevents.parse(bytes(changed), 2)


@pytest.mark.real
def test_a_busy_process_is_sampled_by_its_threads():
    with subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"]) as busy:
        try:
            with_samples = []
            sampler = perfevents.Sampler(Host(), [busy.pid], 199)
            sampler.attach()
            wait_until(lambda: with_samples.extend(sampler.read()) or len(with_samples) >= 20)
            sampler.detach()
            sampler.close()
            sampler.close()
        finally:
            busy.kill()
    assert {one.pid for one in with_samples} == {busy.pid}
    assert any(one.user for one in with_samples)
    assert not sampler.limits.whole


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EACCES, NotPermitted, "perf_event_paranoid"),
        (errno.EPERM, NotPermitted, "sudo"),
        (errno.ENOSYS, MissingFacility, "seccomp"),
        (errno.ESRCH, TargetGone, "has ended"),
        (errno.EMFILE, OSError, "Too many open files"),
    ],
)
def test_a_refusal_says_why_and_what_would_help(monkeypatch, code, kind, words):
    monkeypatch.setattr(perfevents.privilege, "capabilities", lambda: ())
    error = perfevents.refusal(code, 41)
    assert isinstance(error, kind)
    assert words in str(error)


def test_with_the_capability_something_else_forbids_it(monkeypatch):
    monkeypatch.setattr(perfevents.privilege, "capabilities", lambda: ("CAP_PERFMON",))
    assert "seccomp" in perfevents.why_refused()


def test_functions_of_the_kernel(tmp_path):
    lines = [
        "ffffffff81000000 T _stext",
        "ffffffff81000100 t do_one",
        "ffffffff81000180 D some_data",
        "ffffffffa0001000 t of_module\t[veth]",
    ]
    (tmp_path / "kallsyms").write_text("\n".join(lines) + "\n")
    symbols = KernelSymbols(Host(proc=Proc(tmp_path)))
    found = symbols.names([0xFFFFFFFF81000150, 0xFFFFFFFFA0001010, 0x1000])
    assert found == {0xFFFFFFFF81000150: "do_one", 0xFFFFFFFFA0001010: "of_module [veth]", 0x1000: ""}
    (tmp_path / "kallsyms").write_text("0000000000000000 T _stext\n0000000000000000 t do_one\n")
    hidden = KernelSymbols(Host(proc=Proc(tmp_path)))
    assert hidden.names([0xFFFFFFFF81000150]) == {0xFFFFFFFF81000150: ""}
    assert "kptr_restrict" in hidden.hidden


def test_time_of_threads_on_and_off_cpus(tmp_path):
    for tid, text in ((7, "12 34 5\n"), (8, "damaged\n")):
        folder = tmp_path / "7" / "task" / str(tid)
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    assert turns(Host(proc=Proc(tmp_path)), [7, 99]) == {7: Turn(12, 34, 5)}
