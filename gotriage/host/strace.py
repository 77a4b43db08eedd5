"""strace(1) on running processes, for seconds: how it is called, when it is there, what its refusals mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility
from gotriage.host import tools
from gotriage.host.attached import Attached
from gotriage.host.keeper import OUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host

PACKAGE: Final = "apt install strace, dnf install strace"
OLDEST: Final = (4, 10)
"""The first that names the two ends of a socket (-yy)."""
MOST_PIDS: Final = 64
MOST_OUTPUT: Final = 32 * 1024 * 1024
"""Bytes that it may write before the kernel ends it (RLIMIT_FSIZE): some 250,000 calls."""
_VERSION: Final = re.compile(r"version (\d+)\.(\d+)")


def find() -> tuple[str, str]:
    """Path and version. Raises MissingFacility."""
    path = tools.find("strace")
    if path is None:
        raise MissingFacility(f"strace is not installed ({PACKAGE})")
    said = tools.run([path, "-V"], timeout=5.0, limit=64 * 1024)
    match = _VERSION.search(said.out.decode("utf-8", "replace") + said.err)
    if match is None:
        raise MissingFacility("strace does not say its version")
    version = f"{match[1]}.{match[2]}"
    if (int(match[1]), int(match[2])) < OLDEST:
        raise MissingFacility(f"strace {version} is too old, 4.10 is needed")
    return path, version


class Strace(Attached):
    """One run: it is attached to the main process first, then to the others."""

    name = "strace"
    attaches = 15.0  # 5,000 threads take one second
    main_only = True

    def __init__(self, host: Host, path: str, pids: Sequence[int], seconds: float, size: int, calls: str) -> None:
        """Attach to processes, the main one first, with all their threads and what they start.

        `size`: bytes of a string that are written; `calls`: what strace's -e trace= takes, "" for all.
        Raises TargetGone, NotPermitted, MissingFacility, OSError.
        """
        pids = tuple(pids)[:MOST_PIDS]
        words = [path, "-f", "-ttt", "-T", "-yy", "-s", str(size), "-o", OUT]
        words += ["-e", f"trace={calls}"] if calls else []
        words += [word for pid in pids for word in ("-p", str(pid))]
        super().__init__(host, words, pids, seconds, MOST_OUTPUT)
