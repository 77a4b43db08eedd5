"""Where the runtime's variables are in a file without symbols: by the operands of its code, and by its data.

Operands: a function of the runtime that is known by name (from pclntab) touches a variable at known offsets
(`Layout.signatures`, from a build with symbols). Every RIP-relative operand of it votes for where the variable would
begin (Intel SDM 2A, 2.1.5: ModRM mod 00 rm 101, a 32-bit displacement from the next instruction). No disassembler is
needed: wrong operands scatter, right ones agree.

Data: the variables' own contents are scanned for, where no code can be read or is known (arm64, an unknown version).

Whatever way it was found, a variable counts only when its contents make sense.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.errors import GotriageError
from gotriage.goruntime.checks import Checks
from gotriage.goruntime.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory

    U64 = NDArray[np.uint64]

TRIED: Final = 16
"""Candidates of a variable that are checked, those with most votes first."""
LEAST_VOTES: Final = 2
LOOKS: Final = 2
"""A variable that is just being changed may make no sense for a moment."""
TRAILING: Final = (0, 1, 2, 4)
"""Bytes of an immediate that may follow the displacement: the operand counts from behind it."""
SCANNED: Final = ("allgs", "allp", "gcController", "sched")
"""Variables that can be found by their contents alone."""


class NotLocated(GotriageError):
    """A variable of the runtime was not found, or nothing that was found makes sense; the text names it."""


@dataclass(slots=True)
class Globals:
    """Addresses of variables of package runtime.

    Attributes:
        places: name without "runtime." to its address.
        how: name to "operands" or "data".
    """

    places: dict[str, int] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    def address(self, name: str) -> int:
        """Raises NotLocated."""
        if name not in self.places:
            raise NotLocated(f"runtime.{name} was not found in this program")
        return self.places[name]

    def has(self, name: str) -> bool:
        """Whether it was found."""
        return name in self.places


def locate(memory: Memory, image: Image, layout: Layout) -> Globals:
    """Every variable that can be found. Raises NotLocated when `allgs` is not among them."""
    found = Globals()
    checks = Checks(memory, layout, image)
    if memory.arch == "amd64":
        for name, ballot in votes(image, layout).items():
            place = _first(checks, name, ballot)
            if place is not None:
                found.places[name], found.how[name] = place, "operands"
    scan = Scan(memory, layout, image)
    for name in SCANNED:
        if name not in found.places:
            place = scan.find(name)
            if place is not None:
                found.places[name], found.how[name] = place, "data"
    if "allgs" not in found.places:
        raise NotLocated("the list of goroutines (runtime.allgs) was not found: neither by code nor by data")
    return found


def _first(checks: Checks, name: str, ballot: Counter[int]) -> int | None:
    """The candidate with most votes whose contents make sense; no tie where contents cannot tell."""
    leading = ballot.most_common(TRIED)
    if len(leading) > 1 and leading[0][1] == leading[1][1] and not checks.knows(name):
        return None
    for _ in range(LOOKS):
        for place, number in leading:
            if number >= LEAST_VOTES and checks.sound(name, place):
                return place
    return None


# -- by operands


def votes(image: Image, layout: Layout) -> dict[str, Counter[int]]:
    """Variable to candidate address to its votes: one for each place of the variable that a function touches there."""
    ballots: dict[str, Counter[int]] = {}
    targets: dict[str, U64] = {}
    ranges = [(module.noptrdata, module.enoptrbss) for module in image.modules]
    for name, functions in layout.signatures.items():
        ballot: Counter[int] = Counter()
        for function, offsets in functions.items():
            if function not in targets:
                targets[function] = operands(image, function, ranges)
            ballot.update(target - offset for target in targets[function].tolist() for offset in offsets)
        aligned = alignment(layout, name)
        ballots[name] = Counter({place: number for place, number in ballot.items() if place % aligned == 0})
    return ballots


def alignment(layout: Layout, name: str) -> int:
    """What the address of a variable is a multiple of, bytes: a wrong length of an operand is not taken for a vote."""
    known = layout.globals.get(name)
    return 1 if known is None or known.size < 4 else 8 if known.size >= 8 else 4


def operands(image: Image, function: str, ranges: Iterable[tuple[int, int]]) -> U64:
    """Addresses in the ranges that RIP-relative operands of a function could mean; empty when it is not there."""
    index = image.functions.by_name(function)
    if index is None:
        return np.zeros(0, np.uint64)
    code = np.frombuffer(image.functions.text(index), np.uint8)
    if len(code) < 6:
        return np.zeros(0, np.uint64)
    at = np.flatnonzero((code[:-4] & 0xC7) == 0x05)
    raw = np.stack([code[at + step] for step in range(1, 5)], axis=1)
    displacement = np.ascontiguousarray(raw).view("<i4").reshape(-1).astype(np.int64)
    base = image.functions.entry(index) + at + 5 + displacement
    found = [base + extra for extra in TRAILING]
    every = np.unique(np.concatenate(found))
    inside = np.zeros(len(every), bool)
    for low, high in ranges:
        inside |= (every >= low) & (every < high)
    return every[inside].astype(np.uint64)
