"""The two packages that only the distribution has: `bcc` (python3-bpfcc) and `systemd` (python3-systemd).

A virtual environment does not see the distribution's packages, and letting it see all of them lets old ones satisfy
our own imports. So an import finder looks into the distribution's folder for these two top-level names and for nothing
else. `systemd` of our own environment (the extra `journal`) comes first; `bcc` is taken from the distribution alone,
for the registry's package of that name is another one.
"""

from __future__ import annotations

import functools
import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")
"""Where Debian and Ubuntu keep the packages of their own Python 3 (Debian Python Policy, 2.5 Module Path)."""


class DistributionFinder:
    """Finds the given top-level names in one folder; a finder for `sys.meta_path`."""

    def __init__(self, names: tuple[str, ...], folder: Path) -> None:
        self.names = names
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of the names, or None: for every other name, and for a name the folder does not have."""
        if path is not None or fullname not in self.names:
            return None
        spec = PathFinder.find_spec(fullname, [str(self.folder)], target)
        # A bare folder would become a namespace package, which holds nothing: it is not the package meant.
        return spec if spec is not None and spec.origin is not None else None

    def invalidate_caches(self) -> None:
        """Nothing is kept here; the path finder drops its own caches."""


def _offer(finder: DistributionFinder, *, first: bool) -> None:
    """Put the finder on `sys.meta_path`, once."""
    for other in sys.meta_path:
        if isinstance(other, DistributionFinder) and (other.names, other.folder) == (finder.names, finder.folder):
            return
    sys.meta_path.insert(0 if first else len(sys.meta_path), finder)


def _load(module: str) -> ModuleType | None:
    """The module, or None where it is not installed or was built for another Python or library."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError):  # OSError: ctypes does not find the C library behind it (libbcc.so.0)
        return None


@functools.cache
def load_journal() -> ModuleType | None:
    """`systemd.journal` of systemd-python, or None: then the journal is read by `journalctl -o json`."""
    _offer(DistributionFinder(("systemd",), DIST_PACKAGES), first=False)
    return _load("systemd.journal")


@functools.cache
def load_bcc() -> ModuleType | None:
    """The distribution's `bcc`, or None; a package of that name from anywhere else is never run."""
    finder = DistributionFinder(("bcc",), DIST_PACKAGES)
    if finder.find_spec("bcc") is None:
        return None
    _offer(finder, first=True)
    return _load("bcc")
