"""Functions of ELF files by address, against another reader; and of damaged ones, without an error."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from gotriage.goruntime.elf import Elf, ElfError
from gotriage.goruntime.elfsymbols import ElfSymbols
from gotriage.goruntime.places import kind_of

LIBRARY = next(
    path
    for path in map(Path, ("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"))
    if path.exists()
)


def functions(path):
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".dynsym")
        for symbol in table.iter_symbols():
            info = symbol["st_info"]
            if info["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_value"]:
                yield symbol["st_value"], symbol["st_size"], symbol.name


def test_every_function_is_found_by_its_first_and_last_byte():
    names = {}
    for address, size, name in functions(LIBRARY):
        names.setdefault((address, size), set()).add(name)
    with Elf(LIBRARY) as elf:
        symbols = ElfSymbols(elf)
        assert len(symbols) >= len(names) > 1000
        ordered = sorted(names)
        alone = [one for one, after in pairwise(ordered) if one[1] and after[0] >= sum(one)]
        for address, size in alone:
            assert symbols.at(address) in names[address, size]
            assert symbols.at(address + size - 1) in names[address, size]
    assert len(alone) > 1000


def test_damaged_tables_have_fewer_names_and_no_error(tmp_path):
    data = LIBRARY.read_bytes()
    chance = random.Random(3)
    file = tmp_path / "damaged"
    for _ in range(25):
        changed = bytearray(data)
        for _ in range(40):
            changed[chance.randrange(64, 4096)] = chance.randrange(256)
        start = len(data) - 70 * 64  # section headers
        for _ in range(40):
            changed[chance.randrange(start, len(data))] = chance.randrange(256)
        file.write_bytes(changed)
        try:
            with Elf(file) as elf:
                symbols = ElfSymbols(elf)
                for _ in range(50):
                    assert len(symbols.at(chance.randrange(1 << 22))) <= 4096
        except ElfError:
            continue


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        ("main.main", "user"),
        ("example.com/orders/store.(*DB).Get", "user"),
        ("github.com/lib/pq.(*conn).Query", "library"),
        ("net/http.(*conn).serve", "std"),
        ("encoding/json.Marshal", "std"),
        ("runtime.mallocgc", "runtime"),
        ("internal/runtime/syscall.Syscall6", "runtime"),
        ("memeqbody", "runtime"),
        ("_cgo_sys_thread_start", "c"),
    ],
)
def test_whose_code_a_function_is(function, kind):
    assert kind_of(function, "example.com/orders") == kind
