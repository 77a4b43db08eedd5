"""Ask a Go runtime through a reader: a process of its own, which is killed when it does not answer in time."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from gotriage.errors import GotriageError, MissingFacility
from gotriage.goruntime.wire import RESULTS, ReaderFailed, ReaderLate, Reply, Request, error_of
from gotriage.host import Host, child, own_group
from gotriage.host.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMORY: Final = 4 << 30
"""Most bytes that a reader may take; it takes no more than half of what is available either (citizen.room)."""
NEEDED: Final = 128 << 20
"""Bytes that must be left for readers to be started: two of them take about 50 MB each, for 10,000 goroutines."""
RATE: Final = 1 << 30
"""Most bytes a second that are read from the target's memory: about a tenth of what a machine's memory gives."""
READER: Final = ("-m", "gotriage.goruntime.reader")


class Reader:
    """One runtime, of a process or of a core file. Nothing is started before the first call.

    A reader that ended or was killed is started again by the next call: what it knew of earlier looks is lost. It ends
    with the thread that started it. Calls may not overlap.

    `core` and `exe` are paths or descriptors, which stay the caller's; `name` is what a core file is called.

    Attributes:
        rss, cpu: resident memory (bytes) and CPU time (seconds) of the reader after the last call.
        results: what each operation gives; patient: see gotriage.host.child. For those who start another process.
    """

    results: ClassVar[Mapping[str, Any]] = RESULTS
    patient: ClassVar[float] = child.PATIENT

    def __init__(
        self,
        pid: int | None = None,
        *,
        core: str | int | None = None,
        exe: str | int | None = None,
        name: str = "",
        memory: int = MEMORY,
        rate: float | None = RATE,
        words: Sequence[str] = READER,
    ) -> None:
        self._what = f"core file {name or core}" if core is not None else f"process {pid}"
        self._args: dict[str, Any] = {"pid": pid, "core": core, "exe": exe, "rate": rate, "name": name}
        self._keep = tuple(fd for fd in (core, exe) if isinstance(fd, int))
        self._memory, self._words = memory, words
        self._child: child.Child | None = None
        self.rss: int | None = None
        self.cpu = 0.0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reader."""
        one, self._child = self._child, None
        if one is not None:
            one.close()

    def call(self, op: str, deadline: float, **arguments: object) -> object:
        """What the operation gives (wire.RESULTS), within `deadline` seconds, the start of the reader included.

        Raises what the reader raised (TargetGone, NotPermitted, NotGo ...), ReaderLate, ReaderFailed, MissingFacility.
        """
        limit = Deadline(deadline)
        try:
            if self._child is None:
                check_room()
                self._child = child.Child(self._words, self._memory, self._keep, patient=self.patient)
                try:
                    self._ask("attach", self._args, limit)
                except GotriageError:
                    self.close()
                    raise
            return self._ask("identity" if op == "attach" else op, arguments, limit)
        except child.Late:
            self.close()
            raise ReaderLate(
                f"the memory of {self._what} could not be read within {deadline:g} s: it is too much, the machine is"
                " too busy, or a part of it lies in a file system that hangs"
            ) from None
        except child.Ended as end:
            self.close()
            raise ReaderFailed(f"the reader of {self._what} {_how(end.status)}") from None
        except BaseException:
            if self._child is not None and self._child.busy:
                self.close()
            raise

    def _ask(self, op: str, arguments: dict[str, Any], limit: Deadline) -> object:
        assert self._child
        answer = self._child.ask(msgspec.msgpack.encode(Request(op, arguments)), limit.left())
        try:
            reply = msgspec.msgpack.decode(answer, type=Reply)
            self.rss, self.cpu = reply.rss, reply.cpu
            if reply.failure is None:
                return msgspec.msgpack.decode(reply.body, type=self.results[op])
        except msgspec.DecodeError as error:
            raise ReaderFailed(f"the reader of {self._what} gave no sense: {error}") from error
        raise error_of(reply.failure)


def check_room() -> None:
    """Raises MissingFacility where a reader would take the last memory: of the machine, or below our own limit."""
    left = own_group.room(Host())
    if left is not None and left < NEEDED:
        raise MissingFacility(
            f"reading the Go runtime takes up to {NEEDED >> 20} MB of memory, of which {left >> 20} MB are left here;"
            " run gotriage where it may take more"
        )


def _how(status: int | None) -> str:
    if status == -signal.SIGKILL:
        return "was killed: by the kernel, which had no memory left, or by somebody"
    if status is not None and status < 0:
        return f"was ended by signal {-status}"
    return "ended" if status is None else f"ended with status {status}"
