"""What the stream says about itself: header, heartbeat, gaps, the end; and the requests that go back on it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record
from gotriage.records.target import TargetSpec

SCHEMA = "1.3"
"""Version of the record stream. The minor number counts additions; a reader of the same major reads them all."""


class Header(Record, frozen=True, kw_only=True, tag="header", omit_defaults=False):
    """First record of every stream and recording; written in full: its version must not depend on the reader's."""

    keep: ClassVar[int] = 50

    schema: str = SCHEMA
    version: str = ""
    """Version of the gotriage that wrote it."""
    host: str = ""
    kernel: str = ""
    machine: str = ""
    boot_id: str = ""
    uid: int | None = None
    """Effective uid of the agent; 0 is root."""
    capabilities: tuple[str, ...] = ()
    spec: TargetSpec = TargetSpec()
    redaction: str = ""
    """Name and version of the redaction rules that the bytes passed, "" for a live stream."""


class Gap(Record, frozen=True, kw_only=True, tag="gap"):
    """Something that could not be looked at. A view with a gap says so instead of showing nothing.

    Attributes:
        source: the collector, or `collector.part`, that could not look.
        reason: what the kernel, the service or the tool said.
        lost: what the user misses by it.
        remedy: what to type or change so that it can be looked at; "" when nothing helps.
        permission: it was a permission that lacked.
        closed: the source works again; ends the earlier gap of the same source.
    """

    keep: ClassVar[int] = 2000

    source: str
    reason: str = ""
    lost: str = ""
    remedy: str = ""
    permission: bool = False
    closed: bool = False


class CollectorState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one collector fares: when it last looked, how long that took (seconds), and what it is doing."""

    last: datetime | None = None
    took: float | None = None
    state: Literal["ok", "waiting", "late", "failed", "off"] = "ok"
    backend: str = ""


class Heartbeat(Record, frozen=True, kw_only=True, tag="heartbeat"):
    """Once a second, whatever else happens: the agent lives, and this is what its collectors do and cost.

    A record that has not changed is not written again; a collector that looked (`last`) and wrote nothing has
    confirmed its newest record. `cpu` is the agent's own use in cores, `rss_bytes` its memory.
    """

    keep: ClassVar[int] = 3600

    collectors: dict[str, CollectorState] = {}
    cpu: float | None = None
    rss_bytes: int | None = None


class Reply(Record, frozen=True, kw_only=True, tag="reply"):
    """The answer to a request, by its id."""

    keep: ClassVar[int] = 100

    id: int
    ok: bool = True
    error: str = ""


class End(Record, frozen=True, kw_only=True, tag="end"):
    """Last record of a stream that was closed on purpose; without it the stream was cut.

    `exit_code` is one of `gotriage.errors` and not 0 when the target could not be attached; then `reason` says why.
    """

    keep: ClassVar[int] = 50

    reason: str = ""
    exit_code: int = 0
    masked: dict[str, int] = {}
    """How many values each redaction rule masked."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """Front to agent, one JSON object a line.

    `op` "refresh" runs the named collectors now; "logs" reads log history between `since` and `until` (at most
    `limit` lines); "goroutines" looks once more and sends up to `limit` goroutines one by one; "stacks" stops, for a
    fraction of a millisecond each, the threads that run goroutines and reads their stacks; "interval" sets the seconds
    between two looks; "stop" ends the agent. "price" says what the trace of the named source would cost, "start" starts
    it with these options for so many `seconds`, "finish" ends it: the answer is in the next `Traces`.
    """

    id: int
    op: Literal["refresh", "logs", "goroutines", "stacks", "interval", "stop", "price", "start", "finish"]
    collectors: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 10_000
    seconds: float | None = None
    options: dict[str, str] = {}
