"""System calls one by one, with arguments and results, as strace(1) tells them while it stops the target at each."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from gotriage.records.base import Record, Row


class StracedCall(Row, frozen=True, kw_only=True):
    """One call.

    Attributes:
        began_at: by strace's clock; None when it had begun before strace came.
        tid: kernel thread id in our PID namespace.
        arguments: as strace writes them, long strings cut; descriptors with what they are.
        result: as strace writes it: "3</etc/hosts>", "-1"; "?" when there is none (the call was interrupted, the thread
            ended); "" while it has not returned.
        error: "EACCES"; `words`: what strace says about it or about the result.
        seconds: how long it took, the stop included; None when that was not seen.
        where: the file, the address or the directory that it is about, "" when that is not told.
    """

    began_at: datetime | None = None
    tid: int = 0
    call: str
    arguments: str = ""
    result: str = ""
    error: str = ""
    words: str = ""
    seconds: float | None = None
    where: str = ""


class StracedSum(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All calls of one name, as strace -c sums them up.

    `errors` are calls that failed; those that were interrupted and begun again are none. `seconds` is wall time, the
    stops included. `waits`: it waits by nature.
    """

    call: str
    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    waits: bool = False


class StracedFailure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Calls that failed in the same way at the same place. `usual`: it says nothing bad by itself (EAGAIN)."""

    call: str
    error: str
    words: str = ""
    where: str = ""
    count: int = 0
    last_at: datetime | None = None
    usual: bool = False


class StracedSignal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Signals that threads of the target got. `sender`: process that sent them, None for the kernel."""

    signal: str
    count: int = 0
    code: str = ""
    sender: int | None = None


class Straced(Record, frozen=True, kw_only=True, tag="straced"):
    """What strace has told since its start.

    Attributes:
        rows: the last calls that ended, the oldest first; `left_out`: earlier ones that are in the sums only.
        count: all calls that ended.
        sums: by time, the most first.
        failures: by place, the unusual and frequent ones first; at most some hundreds.
        slowest: calls that do not wait by nature.
        inside: calls that have not returned, the oldest first.
        signals, ends: what else happened: signals by kind; threads that ended and how.
        threads: how many of the target's threads made a call or ended one.
        seconds: how long it was attached.
        unread: lines that could not be understood; the first of them is in `note`.
    """

    keep: ClassVar[int] = 4

    rows: tuple[StracedCall, ...] = ()
    count: int = 0
    left_out: int = 0
    sums: tuple[StracedSum, ...] = ()
    failures: tuple[StracedFailure, ...] = ()
    slowest: tuple[StracedCall, ...] = ()
    inside: tuple[StracedCall, ...] = ()
    signals: tuple[StracedSignal, ...] = ()
    ends: tuple[str, ...] = ()
    threads: int = 0
    seconds: float = 0.0
    unread: int = 0
    note: str = ""
