"""The function table against what the linker wrote elsewhere in the file: symbol table and DWARF frame information."""

from __future__ import annotations

import random
import struct
import tracemalloc
from bisect import bisect_right

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from gotriage.errors import GotriageError
from gotriage.goruntime import image, pclntab
from gotriage.goruntime.elf import Elf
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.pcvalue import look_up, value_at
from gotriage.goruntime.report import Frame

from tests.goruntime.filememory import FileMemory
from tests.lab.toolchain import NEWEST, QUICK, VERSIONS, build

ALL = [pytest.param(version, marks=() if version in QUICK else pytest.mark.slow) for version in VERSIONS]
MACHINES = {"amd64": {}, "arm64": {"GOARCH": "arm64"}}


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def table_of(steps):
    """(value, length) pairs as the linker encodes them."""
    out, last = b"", -1
    for value, length in steps:
        delta = value - last
        out += varint(delta << 1 if delta >= 0 else (-delta << 1) - 1) + varint(length)
        last = value
    return out + b"\0"


def test_a_table_of_values():
    steps = [(0, 4), (8, 1), (300, 200), (-1, 3), (70000, 100000)]
    table = table_of(steps)
    ends = np.cumsum([length for _, length in steps])
    for distance in (0, 3, 4, 5, 204, 205, 207, 208, 100207):
        assert value_at(table, distance, 1) == steps[bisect_right(ends.tolist(), distance)][0]
    assert value_at(table, 100208, 1) == -1
    assert value_at(table_of([(16, 2), (32, 2)]), 9, 4) == 32  # in instructions of four bytes


def test_a_first_value_of_minus_one_is_no_end():
    assert value_at(table_of([(-1, 5), (2, 5)]), 7, 1) == 2


def test_a_cut_table_says_so():
    table = table_of([(0, 4), (8, 300)])
    for size in range(len(table) - 1):
        assert value_at(table[:size], 200, 1) is None
    assert look_up(lambda size: table[:3], 200, 1) == -1


def test_endless_tables_come_to_an_end():
    assert look_up(lambda size: b"\x02\x00" * (size // 2), 5, 1) == -1
    assert look_up(lambda size: b"\xff" * size, 5, 1) == -1
    assert -(1 << 31) <= value_at(b"\xfe\xff\xff\xff\x0f\x00" * 3 + b"\x02\x7f", 5, 1) < 1 << 31


def opened(version, arch="amd64", **options):
    binary = build("symbols", version, env=MACHINES[arch])
    return binary, image.find(FileMemory(binary, arch=arch, **options))


def symbols_of(binary):
    """Functions of the symbol table: address to name."""
    with binary.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return {s["st_value"]: s.name for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"}


@pytest.mark.real
@pytest.mark.parametrize("arch", MACHINES)
@pytest.mark.parametrize("version", ALL)
def test_every_function_of_the_symbol_table(version, arch):
    binary, found = opened(version, arch)
    functions = found.functions
    wanted = symbols_of(binary)
    # the symbol table has a full stop for the middle dot in names of local types
    names = {functions.entry(i): functions.name(i).replace("·", ".") for i in range(functions.count)}
    missing = {address: name for address, name in wanted.items() if names.get(address) != name.removesuffix(".abi0")}
    # the linker's own marks at the ends of the code, and padding, are no functions
    assert not {n for n in missing.values() if n not in {"runtime.text", "runtime.etext"} and "." in n}
    assert set(names) <= set(wanted)
    assert (found.arch, found.stripped, found.go_version) == (arch, False, f"go{version}")
    found.close()


@pytest.mark.real
@pytest.mark.parametrize("arch", MACHINES)
@pytest.mark.parametrize("version", ALL)
def test_frame_sizes_are_those_of_dwarf(version, arch):
    binary, found = opened(version, arch)
    pcs, sizes = [], []
    with binary.open("rb") as file:
        entries = ELFFile(file).get_dwarf_info().CFI_entries()
        for fde in [e for e in entries if "initial_location" in e.header][::7]:
            for row in fde.get_decoded().table:
                if row["pc"] < fde.header["initial_location"] + fde.header["address_range"]:
                    pcs.append(row["pc"])
                    sizes.append(row["cfa"].offset - (8 if arch == "amd64" else 0))
    said = found.functions.frame_sizes(np.array(pcs, dtype=np.uint64))
    wrong = [(hex(pc), int(a), b) for pc, a, b in zip(pcs, said, sizes, strict=True) if a != b]
    assert len(pcs) > 500
    assert not [w for w in wrong if w[1] != -1 or w[2] > 0]
    found.close()


@pytest.mark.real
def test_addresses_are_looked_up_many_at_once():
    _, found = opened(NEWEST)
    functions = found.functions
    entries = np.array([functions.entry(i) for i in range(functions.count)], dtype=np.uint64)
    assert functions.is_entry(entries).all()
    assert (functions.index(entries) == np.arange(functions.count)).all()
    assert not functions.is_entry(entries[:-1] + np.uint64(1)).any()
    last = functions.end(functions.count - 1)
    outside = np.array([0, 1, functions.entry(0) - 1, last, last + 1, (1 << 64) - 1], dtype=np.uint64)
    assert (functions.index(outside) == -1).all()
    assert not functions.is_entry(outside).any()
    assert (functions.frame_sizes(outside) == -1).all()
    assert len(functions.frame_sizes(np.zeros(0, dtype=np.uint64))) == 0
    assert functions.frames(1 << 70) == functions.frames(-1) == functions.frames(0) == ()
    assert functions.find(last) == functions.find(0) == -1
    with pytest.raises(IndexError):
        functions.entry(functions.count)
    found.close()


@pytest.mark.real
def test_the_memo_of_frame_sizes_may_overflow(monkeypatch):
    from gotriage.goruntime import symbols

    _, found = opened(NEWEST)
    functions = found.functions
    pcs = np.array([functions.entry(i) + 5 for i in range(0, functions.count, 3)], dtype=np.uint64)
    whole = functions.frame_sizes(pcs)
    monkeypatch.setattr(symbols, "MAX_MEMO", 50)
    for start in range(0, len(pcs), 40):
        part = np.concatenate([pcs[start : start + 40], pcs[:10]])
        assert (functions.frame_sizes(part) == np.concatenate([whole[start : start + 40], whole[:10]])).all()
    found.close()


@pytest.mark.real
def test_code_and_names(tmp_path):
    binary, found = opened(NEWEST)
    functions = found.functions
    main = functions.by_name("main.main")
    with Elf(binary) as elf:
        assert functions.text(main) == elf.at(elf.offset_of(functions.entry(main)), len(functions.text(main)))
    assert len(functions.text(main)) == functions.end(main) - functions.entry(main)
    assert functions.name(functions.by_name("runtime.gopark")) == "runtime.gopark"
    assert functions.flags(functions.by_name("runtime.goexit")) & 1
    named = {}
    for i in range(functions.count):
        named.setdefault(functions.name(i), []).append(functions.site(functions.entry(i), exact=True).file)
    mixed = {name for name, files in named.items() if len(files) == 2 and len(set(files)) == 2}
    assert len(mixed) > 5  # an ABI wrapper has its function's name too; the function is meant
    chosen = [functions.entry(functions.by_name(name)) for name in mixed]
    assert "<autogenerated>" not in {functions.site(entry, exact=True).file for entry in chosen}
    for nothing in ("", "main.nothing", "runtime.nothing", "a\0b", "gopark"):
        assert functions.by_name(nothing) is None
    found.close()


# Damaged and hostile tables

HEAD = struct.Struct("<IBBBBQQQQQQQQ")


def head(magic=pclntab.MAGIC_120, quantum=1, pointer=8, count=10, parts=(72, 100, 200, 300, 400)):
    return HEAD.pack(magic, 0, 0, quantum, pointer, count, 5, 0, *parts)


def test_heads():
    assert pclntab.header(head(), 1000).nfunc == 10
    assert pclntab.header(head(pclntab.MAGIC_118), 1000).form == 118
    assert pclntab.header(head(0x12345678), 1000) is None
    assert pclntab.header(head(0x12345678), 1000, any_magic=True).form == 120
    for wrong in (
        head(quantum=3), head(pointer=4), head(count=0), head(count=pclntab.MAX_FUNCTIONS + 1), head(count=200),
        head(parts=(72, 60, 200, 300, 400)), head(parts=(0, 100, 200, 300, 400)),
        head(parts=(72, 100, 200, 300, 1 << 63)), head()[:-1], b"",
    ):  # fmt: skip
        assert pclntab.header(wrong, 1000) is None


def exercised(path, with_file=True):
    """Everything that can be asked, of a file that may be damaged; the number of functions, None when refused."""
    try:
        found = image.find(FileMemory(path, with_file=with_file))
    except GotriageError as error:
        assert str(error)
        return None
    functions = found.functions
    rng = random.Random(7)
    numbers = [rng.randrange(functions.count) for _ in range(40)]
    for i in numbers:
        functions.name(i), functions.flags(i), functions.func_id(i), functions.text(i)
        for pc in (functions.entry(i), functions.entry(i) + 1, functions.end(i) - 1):
            functions.frames(pc)
            functions.site(pc, exact=True)
    functions.frame_sizes(np.array([functions.end(i) - 1 for i in numbers], dtype=np.uint64))
    functions.by_name("runtime.gopark")
    functions.by_name("main.main")
    found.close()
    return functions.count


def places(binary):
    """Where in the file the parts of the tables lie: head, records, values, names, module data, ELF headers."""
    with Elf(binary) as elf:
        section = elf.section(".gopclntab")
        head = pclntab.header(elf.at(section.offset, pclntab.HEADER), section.size)
        module = elf.section(".go.module") or elf.section(".noptrdata")
        base = section.offset
        return [
            (base, 72), (base + head.functions, 8 * head.nfunc), (base + head.functions + 8 * head.nfunc, 40_000),
            (base + head.pctab, 20_000), (base + head.names, 20_000), (base + head.units, head.files - head.units),
            (module.offset, min(module.size, 0x4000)), (0, 0x400),
        ]  # fmt: skip


def mutated(data, rng, where):
    for _ in range(rng.choice((1, 1, 4, 64))):
        start, size = where if rng.random() < 0.8 else (0, len(data))
        at = start + rng.randrange(size)
        how = rng.randrange(4)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        else:
            size = rng.choice((4, 8))
            number = rng.choice(
                (0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1, rng.getrandbits(64))
            )
            data[at : at + size] = (number & (1 << 8 * size) - 1).to_bytes(size, "little")[: len(data) - at]


def fuzzed(tmp_path, version, rounds, seed):
    binary = build("symbols", version, flags=["-ldflags=-s -w"])
    good = binary.read_bytes()
    where = places(binary)
    rng = random.Random(seed)
    outcomes = {"read": 0, "refused": 0}
    path = tmp_path / "mutated"
    for number in range(rounds):
        data = bytearray(good)
        if rng.random() < 0.05:
            del data[rng.randrange(len(data)) :]
        else:
            mutated(data, rng, where[number % len(where)])
        path.write_bytes(data)
        outcomes["read" if exercised(path, with_file=number % 3 > 0) is not None else "refused"] += 1
    return outcomes


@pytest.mark.real
@pytest.mark.parametrize("version", QUICK)
def test_damaged_tables_are_read_or_refused(tmp_path, version):
    outcomes = fuzzed(tmp_path, version, 60, 1)
    assert outcomes["read"] > 5
    assert outcomes["refused"] > 5


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", VERSIONS)
def test_many_damaged_tables(tmp_path, version):
    assert fuzzed(tmp_path, version, 1500, 2)["read"] > 100


@pytest.mark.real
def test_a_file_that_fails_while_it_is_read(monkeypatch):
    _, found = opened(NEWEST)
    functions, main = found.functions, found.functions.by_name("main.main")
    binary = found.binaries[0]

    def fails(fd, size, offset):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.pread", fails)
    binary._blocks.clear()
    with pytest.raises(Unreadable, match="Input/output error"):
        binary.read(functions.entry(main), 8)
    assert functions.text(main) == b""
    assert (functions.name(main), functions.flags(main)) == ("", 0)
    assert functions.frames(functions.entry(main) + 3) == (Frame("?", "?"),)
    assert functions.frame_sizes(np.array([functions.entry(main) + 3], dtype=np.uint64)).tolist() == [-1]
    monkeypatch.undo()
    with monkeypatch.context() as broken:
        path = build("symbols", NEWEST)
        memory = FileMemory(path)
        broken.setattr("os.pread", fails)
        with pytest.raises(GotriageError):
            image.find(memory)
    found.close()


@pytest.mark.real
def test_a_huge_sparse_file_costs_little(tmp_path):
    binary = build("symbols", NEWEST, flags=["-ldflags=-s -w"])
    path = tmp_path / "sparse"
    data = bytearray(binary.read_bytes())
    with Elf(binary) as elf:
        base = elf.section(".gopclntab").offset
        sections = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<I", data, base, 0x12345678)  # so that all of the file is searched
    struct.pack_into("<Q", data, 40, 0)
    for at in range(64, 64 + 56 * struct.unpack_from("<H", data, 56)[0], 56):
        if struct.unpack_from("<I", data, at)[0] == 1:
            struct.pack_into("<Q", data, at + 32, 1 << 40)
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert sections
    tracemalloc.start()
    memory = FileMemory.__new__(FileMemory)
    memory.path, memory.arch, memory.with_file, memory.reads, memory._data = path, "amd64", True, 0, bytes(data)
    with Elf(binary) as elf:
        memory._loads = elf.loads
    found = image.find(memory)  # by the shape of its table, within the part of the file that is searched
    assert found.garbled
    found.close()
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
