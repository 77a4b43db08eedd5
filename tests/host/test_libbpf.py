"""The door to libbpf: what it says when something is missing, refused or wrong; objects are what their sources give."""

from __future__ import annotations

import errno
import os
import shutil
import struct

import numpy as np
import pytest
from gotriage import probes
from gotriage.errors import MissingFacility, NotPermitted
from gotriage.host import libbpf, libbpf_api
from gotriage.host.libbpf import Object, summed

from tests.lab import probes as compiling

PROBES = compiling.names()
SOURCE = r"""
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
const volatile __u32 step = 1;
__u32 pid = 0;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 2000); __type(key, __u32); __type(value, __u64); }
	counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
SEC("tp_btf/sys_enter")
int BPF_PROG(enter, struct pt_regs *regs, long id)
{
	__u32 key = id;
	__u64 first = step, *value;
	if ((__u32)bpf_get_current_task_btf()->tgid != pid)
		return 0;
	value = bpf_map_lookup_elem(&counts, &key);
	if (value)
		*value += step;
	else
		bpf_map_update_elem(&counts, &key, &first, BPF_ANY);
	bpf_ringbuf_output(&events, &key, sizeof(key), 0);
	return 0;
}
SEC("tp_btf/sys_exit")
int BPF_PROG(wrong, struct pt_regs *regs, long id)
{
	return *(int *)id;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The program above, as an object for this machine."""
    folder = tmp_path_factory.mktemp("probes")
    for header in compiling.PROBES.glob("*.h"):
        shutil.copy(header, folder)
    (folder / "test.bpf.c").write_text(SOURCE)
    target = folder / "test.bpf.o"
    compiling.compile_one("test", "x86", target, folder)
    return target.read_bytes()


@pytest.mark.real
def test_constants_variables_maps_and_events(compiled):
    with Object(compiled, "test", constants={"step": 3}, programs=["enter"]) as loaded:
        counts, ring = loaded.map("counts"), loaded.ring("events")
        loaded.set("pid", os.getpid())
        loaded.attach("enter")
        for _ in range(100):
            os.getppid()
        loaded.detach()
        os.getppid()
        keys, values = counts.items("<u4", "<u8")
        numbers = dict(zip(keys.tolist(), summed(values).tolist(), strict=True))
        assert numbers[110] == 300
        events = ring.consume(50)
        rest = ring.consume()
        assert len(events) == 50 and [struct.unpack("<I", one)[0] for one in events + rest].count(110) == 100
        for number in range(1000):
            counts.update(struct.pack("<I", number), struct.pack("<Q", number))
        keys, values = counts.items("<u4", "<u8")
        assert len(keys) == 1000 and (summed(values) == keys.astype(np.uint64) * values.shape[1]).all()
        assert len(counts._one_by_one(take=False)[0]) == 4000
        assert len(counts.items("<u4", "<u8", take=True)[0]) == 1000
        assert counts.lookup(struct.pack("<I", 7)) is None and not counts.delete(struct.pack("<I", 7))
        with pytest.raises(KeyError):
            loaded.map("nothing")
        with pytest.raises(ValueError, match="4 bytes"):
            counts.lookup(b"1")
    loaded.close()


@pytest.mark.real
def test_the_verifiers_last_words_stand_in_the_error(compiled):
    with pytest.raises(OSError, match="verifier refuses") as caught:
        Object(compiled, "test", programs=["wrong"])
    assert caught.value.errno == errno.EINVAL and "invalid mem access" in str(caught.value)
    with pytest.raises(KeyError):
        Object(compiled, "test", programs=["nothing"])
    with pytest.raises(OSError, match="ELF"):
        Object(b"no object" * 100, "test")


@pytest.mark.real
def test_only_entries_of_functions_can_be_probed():
    fields = [name for name, _ in libbpf_api.UprobeOptions._fields_]
    assert "retprobe" not in fields  # libbpf takes what is beyond the size it is told as false


def test_without_libbpf_or_btf_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(libbpf, "KERNEL_BTF", tmp_path / "none")
    with pytest.raises(MissingFacility, match="CONFIG_DEBUG_INFO_BTF"):
        Object(b"", "test")
    libbpf_api.library.cache_clear()
    monkeypatch.setattr(libbpf_api.ctypes, "CDLL", lambda *_, **__: (_ for _ in ()).throw(OSError("no such file")))
    with pytest.raises(MissingFacility, match="apt install libbpf1"):
        libbpf_api.library()
    monkeypatch.undo()
    libbpf_api.library.cache_clear()


@pytest.mark.parametrize(
    ("code", "lines", "kind", "words"),
    [
        (errno.EPERM, [], NotPermitted, "CAP_BPF"),
        (errno.ESRCH, ["libbpf: failed to find valid kernel BTF"], MissingFacility, "CONFIG_DEBUG_INFO_BTF"),
        (errno.ENOSYS, [], MissingFacility, "seccomp"),
        (524, [], OSError, "not supported by this kernel"),
        (
            errno.EACCES,
            [
                "-- BEGIN PROG LOAD LOG --",
                "0: (79) r1",
                "R1 \x1b[31m invalid",
                "processed 1 insns",
                "-- END PROG LOAD LOG --",
            ],
            OSError,
            "R1",
        ),
    ],
)
def test_an_errno_becomes_words(code, lines, kind, words):
    libbpf_api.forget_log()
    libbpf_api._log.lines.extend(lines)
    found = libbpf_api.failure(code, "loading")
    libbpf_api.forget_log()
    assert isinstance(found, kind) and words in str(found)
    assert "\x1b" not in str(found) and not isinstance(found, PermissionError)


# -- objects


def test_there_is_an_object_of_every_program_and_no_other():
    for arch in probes.ARCHITECTURES.values():
        names = sorted(path.name.removesuffix(".bpf.o") for path in (compiling.OBJECTS / arch).glob("*.bpf.o"))
        assert names == PROBES


def test_another_machine_is_told_which_there_are(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(MissingFacility, match="x86_64 and aarch64"):
        probes.object_bytes("syscalls")


@pytest.mark.real
@pytest.mark.parametrize("name", PROBES)
def test_the_objects_are_what_the_sources_give(name, tmp_path):
    """Byte for byte with the same compiler; another one must at least compile them."""
    same = compiling.versions() == compiling.MADE_WITH.read_text()
    for arch in probes.ARCHITECTURES.values():
        target = tmp_path / arch / f"{name}.bpf.o"
        compiling.compile_one(name, arch, target)
        if same:
            assert target.read_bytes() == (compiling.OBJECTS / arch / f"{name}.bpf.o").read_bytes(), "run ./dev probes"
