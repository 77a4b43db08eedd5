"""Functions of the running kernel by address (/proc/kallsyms, proc_kallsyms(5))."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

MOST: Final = 64 * 1024 * 1024
"""Bytes that are read; a kernel with all its modules has about 15 MB."""
MOST_NAME: Final = 200
CODE: Final = frozenset(b"tTwW")
"""nm(1): in the text section, weak."""


class KernelSymbols:
    """The kernel's functions, read when the first name is asked for; `hidden` says why there are none."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._text: bytes | None = None
        self._starts, self._lines = array("Q"), array("I")
        self.hidden = ""

    def names(self, addresses: Iterable[int]) -> dict[int, str]:
        """The function of each address, "" where it is not known."""
        if self._text is None:
            self._read()
        assert self._text is not None
        found: dict[int, str] = {}
        for address in addresses:
            at = bisect_right(self._starts, address) - 1
            found[address] = self._name(self._lines[at]) if at >= 0 else ""
        return found

    def _name(self, line: int) -> str:
        assert self._text is not None
        end = self._text.find(b"\n", line)
        words = self._text[line : end if end >= 0 else len(self._text)].split(None, 3)
        module = f" {words[3].decode('ascii', 'replace')}" if len(words) > 3 else ""
        return clean(words[2].decode("ascii", "replace") + module, MOST_NAME) if len(words) > 2 else ""

    def _read(self) -> None:
        self._text = b""
        try:
            text = self._host.proc.read("kallsyms", limit=MOST)
        except (GotriageError, OSError) as error:
            self.hidden = f"the kernel's functions have no names: {error}"
            return
        pairs: list[tuple[int, int]] = []
        at = 0
        for line in text.splitlines(keepends=True):
            if line[17:18] and line[17] in CODE:
                pairs.append((int(line[:16], 16), at))
            at += len(line)
        if not pairs or not any(address for address, _ in pairs[:64]):
            self.hidden = "the kernel's functions have no names: kernel.kptr_restrict hides their addresses"
            return
        pairs.sort()
        self._text = text
        self._starts, self._lines = array("Q", [pair[0] for pair in pairs]), array("I", [pair[1] for pair in pairs])
