"""BCC, the distribution's, in a process of its own: a C program is compiled, loaded and attached there.

Only functions at tracepoints (TRACEPOINT_PROBE, RAW_TRACEPOINT_PROBE) are attached, and none that changes another
process. BCC needs the kernel's headers; those of another version do as long as the program uses the tracepoints' own
fields. Compiling takes about a second and 100 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gotriage.errors import MissingFacility, NotPermitted, UsageError
from gotriage.host import child, ownmounts, privilege
from gotriage.host.optional import DIST_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY: Final = 768 << 20
"""Bytes that the child may take beyond its start: LLVM takes about 100 MB for a program of a page."""
COMPILES: Final = 15.0
"""Seconds until it is attached; a second where nobody else wants the CPU."""
ANSWERS: Final = 3.0
WORDS: Final = ("-m", "gotriage.host.bcc_child")


class Taken(msgspec.Struct, array_like=True):
    """What the program has had since the last look.

    Attributes:
        events: table, and the event's bytes or its fields.
        numbers: table, key, count; `histograms`: table, and (slot, count) by powers of two.
        lost: events that there was no room for, since the start; `dropped`: that were too many for one look.
    """

    events: list[tuple[str, bytes, dict[str, str]]] = []
    numbers: list[tuple[str, str, int]] = []
    histograms: list[tuple[str, list[tuple[int, int]]]] = []
    lost: int = 0
    dropped: int = 0


class Answer(msgspec.Struct, array_like=True):
    """The child's: an error by its kind ("usage", "missing", "permission"), or what was asked for."""

    error: str = ""
    kind: str = ""
    taken: Taken | None = None


class Load(msgspec.Struct, array_like=True):
    """The program; `numbers` become macros; `raw`: events are handed on as bytes."""

    text: str
    numbers: dict[str, int] = {}
    raw: bool = False


def unavailable() -> str:
    """Why BCC cannot be used here, "" when it seems to be possible."""
    if not (DIST_PACKAGES / "bcc").is_dir():
        return "BCC is not installed (apt install python3-bpfcc)"
    if ownmounts.headers() is None:
        return "the kernel's headers are not installed, which BCC compiles with (apt install linux-headers-amd64)"
    return "" if privilege.is_root() else "BCC runs for root only"


class Bcc:
    """One program that runs. Raises UsageError with the compiler's first words, MissingFacility, NotPermitted."""

    def __init__(self, text: str, numbers: Mapping[str, int], *, raw: bool = False) -> None:
        if reason := unavailable():
            raise (NotPermitted if "root" in reason else MissingFacility)(reason)
        self._child = child.Child(WORDS, MEMORY)
        try:
            self._ask(Load(text, dict(numbers), raw), COMPILES)
        except BaseException:
            self.close()
            raise

    def take(self) -> Taken:
        """What there is. Raises MissingFacility when the child has ended."""
        return self._ask(None, ANSWERS).taken or Taken()

    def close(self) -> None:
        """End it: the kernel frees what it had."""
        self._child.close()

    def _ask(self, message: Load | None, seconds: float) -> Answer:
        try:
            data = self._child.ask(msgspec.msgpack.encode(message), seconds)
            answer = msgspec.msgpack.decode(data, type=Answer)
        except child.Late:
            self.close()
            raise MissingFacility(f"BCC has not answered within {seconds:.0f} s") from None
        except child.Ended as end:
            self.close()
            raise MissingFacility(f"BCC's process has ended{f', status {end.status}' if end.status else ''}") from None
        except msgspec.DecodeError as error:
            raise MissingFacility(f"BCC's process gives no sense: {error}") from error
        errors: dict[str, Any] = {"usage": UsageError, "permission": NotPermitted}
        if answer.error:
            raise errors.get(answer.kind, MissingFacility)(f"BCC: {answer.error}")
        return answer
