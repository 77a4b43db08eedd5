"""The releases of Go that the tables are of.

Each is built by its own toolchain, from the registry, from Debian (1.19), or from source by hand: 1.18, 1.20 and some
patch releases are to be had nowhere else. `python -m tests.lab.golayout.fromsource CLONE VERSION` puts one into .go/;
without that their tables stay as they are.
"""

from __future__ import annotations

from typing import Final

from tests.lab import toolchain

DEBIAN: Final = "1.19.8"
FROM_SOURCE: Final = (
    "1.18.1", "1.18.3", "1.18.7", "1.18.8", "1.18.10", "1.19.2", "1.19.3", "1.20.14", "1.21.5", "1.23.12",
)  # fmt: skip
RELEASES: Final = tuple(
    sorted({DEBIAN, *FROM_SOURCE, *toolchain.RELEASES}, key=lambda version: [*map(int, version.split("."))])
)
UNTESTED: Final = {
    "1.18": "no program by Go 1.18 was read with these tables: they are those of its source",
    "1.20": "hardly any program by Go 1.20 was read with these tables: they are those of its source",
}
"""What is said of a minor version of which no test has a toolchain."""

SAME: Final = {
    "1.18": ((0, 1), (2, 3), (4, 7), (8, 8), (9, 10)),
    "1.19": ((0, 2), (3, 3), (4, 13)),
    "1.20": ((0, 14),),
    "1.21": ((0, 5), (6, 13)),
    "1.22": ((0, 12),),
    "1.23": ((0, 1), (2, 2), (3, 3), (4, 4), (5, 11), (12, 12)),
    "1.24": ((0, 5),),
    "1.25": ((0, 3), (4, 5)),
    "1.26": ((0, 0), (1, 6)),
    "1.27": ((0, 3),),
}
"""Runs of patch releases, first and last, whose declarations are the same: see declared.py. (Different is a constant of
Windows in 1.22.10, and in 1.19.10 and 1.20.5 there is a variable more, secureMode.)"""


def built(go: str, *, everything: bool = False) -> tuple[str, ...]:
    """The releases of a minor version to build: of those that declare the same, the newest, or all."""
    known = [version for version in RELEASES if version.startswith(f"{go}.")]
    newest = {same(version): version for version in known}
    return tuple(known if everything else newest.values())


def same(version: str) -> tuple[int, ...]:
    """The patch numbers of all releases that declare what this one declares, itself too."""
    go, _, patch = version.rpartition(".")
    for first, last in SAME.get(go, ()):
        if first <= int(patch) <= last:
            return tuple(range(first, last + 1))
    return (int(patch),)
