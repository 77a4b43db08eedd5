"""Which functions of the runtime touch which variables, and where in them: from a build that has its symbols.

An amd64 instruction names a variable by its distance from the next instruction (ModRM mod 00 rm 101; Intel SDM 2A,
2.1.5 and 2.2.1.6). No disassembler is needed: every byte that could be such a ModRM is one candidate, and those count
whose target lies in a wanted variable.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_FUNCTIONS: Final = 40
"""Functions kept for a variable."""
MOST_OFFSETS: Final = 24
"""Offsets kept for a function, those that fewer functions use first."""
IMMEDIATES: Final = {0x80: 1, 0x82: 1, 0x83: 1, 0xC0: 1, 0xC1: 1, 0xC6: 1, 0x6B: 1, 0x69: 4, 0x81: 4, 0xC7: 4}
"""Bytes behind the displacement, by opcode; F6 and F7 have some only as TEST (reg field 0 or 1)."""

Signatures = dict[str, dict[str, list[int]]]
"""Variable to function to offsets in the variable."""
Touches = dict[str, dict[str, set[int]]]


@dataclass(frozen=True)
class Symbol:
    """A function or variable of the program."""

    name: str
    address: int
    size: int


class Binary:
    """Symbols and code of a program that was not stripped."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            elf = ELFFile(file)
            self.symbols = [
                Symbol(symbol.name, symbol["st_value"], symbol["st_size"])
                for symbol in elf.get_section_by_name(".symtab").iter_symbols()
                if symbol["st_info"]["type"] in ("STT_OBJECT", "STT_FUNC") and symbol["st_size"]
            ]
            text = elf.get_section_by_name(".text")
            self.base, self.code = text["sh_addr"], text.data()

    def functions(self) -> Iterator[Symbol]:
        """Those of the runtime and of what it is built on, that are in .text."""
        for symbol in self.symbols:
            inside = self.base <= symbol.address < self.base + len(self.code)
            if inside and symbol.name.startswith(("runtime.", "internal/", "sync.", "crypto/internal/fips140")):
                yield symbol

    def variables(self, names: set[str]) -> dict[str, Symbol]:
        """The variables of those names that the program has."""
        return {symbol.name: symbol for symbol in self.symbols if symbol.name in names}

    def operands(self, function: Symbol) -> np.ndarray:
        """Addresses that RIP-relative operands of a function could mean."""
        start = function.address - self.base
        code = np.frombuffer(self.code, np.uint8, function.size, start)
        if len(code) < 6:
            return np.zeros(0, np.int64)
        at = np.flatnonzero((code[1:-4] & 0xC7) == 0x05) + 1
        raw = np.stack([code[at + step] for step in range(1, 5)], axis=1)
        displacement = np.ascontiguousarray(raw).view("<i4").reshape(-1).astype(np.int64)
        behind = np.array([self._behind(code, int(place)) for place in at], np.int64)
        return function.address + at + 5 + behind + displacement

    @staticmethod
    def _behind(code: np.ndarray, at: int) -> int:
        opcode = int(code[at - 1])
        wide = at < 2 or int(code[at - 2]) != 0x66
        if opcode in (0xF6, 0xF7) and (int(code[at]) >> 3) & 7 < 2:
            return 1 if opcode == 0xF6 else 4 if wide else 2
        size = IMMEDIATES.get(opcode, 0)
        return 2 if size == 4 and not wide else size


def touches(binary: Binary, names: set[str]) -> Touches:
    """All that functions touch in the variables of those names; those of package runtime come without "runtime."."""
    found: Touches = defaultdict(lambda: defaultdict(set))
    variables = sorted(binary.variables(names).values(), key=lambda symbol: symbol.address)
    starts = np.array([symbol.address for symbol in variables], np.int64)
    for function in binary.functions():
        targets = binary.operands(function)
        places = np.searchsorted(starts, targets, side="right") - 1
        for target, place in zip(targets.tolist(), places.tolist(), strict=True):
            if place >= 0 and target - variables[place].address < variables[place].size:
                variable = variables[place].name.removeprefix("runtime.")
                found[variable][function.name].add(target - variables[place].address)
    return found


def make(first: Touches, others: list[Touches]) -> Signatures:
    """Signatures from the build that has most, preferring what other builds have alike: there it is not a chance."""
    return {
        name: _kept(functions, [other.get(name, {}) for other in others]) for name, functions in sorted(first.items())
    }


def _kept(functions: Mapping[str, set[int]], others: list[Mapping[str, set[int]]]) -> dict[str, list[int]]:
    """The functions that most builds have, then those with most offsets."""
    common: dict[str, set[int]] = {}
    worth: dict[str, tuple[int, int]] = {}
    for name, offsets in functions.items():
        having = [other[name] & offsets for other in others if other.get(name, set()) & offsets]
        common[name] = set.union(*having) if having else offsets
        worth[name] = (len(having), len(common[name]))
    best = sorted(functions, key=lambda name: (-worth[name][0], -worth[name][1], name))[:MOST_FUNCTIONS]
    return {name: sorted(common[name])[:MOST_OFFSETS] for name in sorted(best)}
