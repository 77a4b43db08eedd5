"""What goes between the reader, a process that may be killed, and who asks it: MessagePack, one answer a request."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gotriage.errors import GotriageError, UsageError
from gotriage.goruntime import report
from gotriage.goruntime.corefacts import CoreFacts
from gotriage.goruntime.oncpu import CpuLook
from gotriage.goruntime.probepoints import ProbePoints
from gotriage.goruntime.tls import Places
from gotriage.host import citizen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OWN: Final = "gotriage."
"""Errors of ours are defined below this name."""


class ReaderLate(GotriageError):
    """The reader did not answer in time, and was killed."""


class ReaderFailed(GotriageError):
    """The reader ended, or has an error that nobody foresaw."""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """An operation and its arguments."""

    op: str
    args: dict[str, Any] = {}


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error: module and name of its class, its text, and whether it is one of ours, meant for the user."""

    module: str
    name: str
    text: str
    ours: bool


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The answer: what was asked for, or a failure; resident memory (bytes) and CPU time (seconds) of the reader."""

    body: msgspec.Raw
    failure: Failure | None = None
    rss: int | None = None
    cpu: float = 0.0


RESULTS: Final[dict[str, Any]] = {
    "attach": report.Identity,
    "identity": report.Identity,
    "dump": report.Dump,
    "goroutines": report.Dump,
    "goroutine": report.Dump,
    "counters": report.Counters,
    "stacks": CpuLook,
    "text": bytes,
    "core": CoreFacts,
    "probepoints": ProbePoints,
    "frames": tuple[tuple[report.Frame, ...], ...],
    "places": Places,
}
"""What each operation gives."""


def answered(message: bytes, operations: Mapping[str, Callable[..., object]], who: str) -> bytes:
    """The reply to one request of `who`'s operations; no error leaves this."""
    failure: Failure | None = None
    body = b"\xc0"  # nil
    try:
        request = msgspec.msgpack.decode(message, type=Request)
        operation = operations.get(request.op)
        if operation is None:
            raise UsageError(f"the {who} knows no {request.op!r}")
        body = msgspec.msgpack.encode(operation(**request.args))
    except Exception as error:  # the asker hears of it, whatever it is
        failure = failure_of(error)
    return msgspec.msgpack.encode(Reply(msgspec.Raw(body), failure, rss=citizen.rss_bytes(), cpu=citizen.cpu_seconds()))


def failure_of(error: BaseException) -> Failure:
    """An error as it is sent."""
    if isinstance(error, GotriageError):
        return Failure(type(error).__module__, type(error).__qualname__, _text(error), ours=True)
    if isinstance(error, MemoryError):
        return Failure("", "MemoryError", "reading needs more memory than gotriage allows itself here", ours=False)
    return Failure("", type(error).__name__, f"{type(error).__name__}: {_text(error)}{_place(error)}", ours=False)


def _text(error: BaseException) -> str:
    return str(error).encode("utf-8", "replace").decode()[:2000]


def _place(error: BaseException) -> str:
    """Where an unforeseen error came from, for a report of it; an OSError says itself what it is about."""
    trace = error.__traceback__
    if trace is None or isinstance(error, OSError):
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" ({trace.tb_frame.f_globals.get('__name__', '?')}, line {trace.tb_lineno})"


def error_of(failure: Failure) -> GotriageError:
    """A failure as the error that it was; one that is not ours as ReaderFailed."""
    if failure.ours and failure.module.startswith(OWN):
        kind = getattr(importlib.import_module(failure.module), failure.name, None)
        if isinstance(kind, type) and issubclass(kind, GotriageError):
            return kind(failure.text)
    return ReaderFailed(failure.text)
