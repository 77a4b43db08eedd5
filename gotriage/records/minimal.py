"""What a program takes for granted around it, as it sees it: kernel, loader, devices, time, folders, streams."""

from __future__ import annotations

from typing import ClassVar, Literal

from gotriage.records.base import Record, Row

Standing = Literal["ok", "note", "fault", "unknown"]


class Condition(Row, frozen=True, kw_only=True):
    """One thing that is taken for granted.

    Attributes:
        group: "kernel", "loader", "kernel files", "devices", "time", "folders", "streams", "names".
        state: "fault" breaks something; "note" is unusual and often harmless; "unknown" could not be seen.
        value: what was found.
        detail: what follows from it for a Go program, or why it is not known.
        fix: what to type or change.
    """

    group: str
    name: str
    state: Standing = "ok"
    value: str = ""
    detail: str = ""
    fix: str = ""


class Minimal(Record, frozen=True, kw_only=True, tag="minimal"):
    """The conditions, faults first.

    Attributes:
        kernel: the release as the target is told it; `kernel_least` the least that its Go version needs, "" when it is
            no Go program.
        zone: where local time comes from: a zone's name, "UTC", a path; None when not known.
        zones_embedded: the program carries the time zone database (time/tzdata); None when it cannot be told.
    """

    keep: ClassVar[int] = 20

    rows: tuple[Condition, ...] = ()
    go_version: str = ""
    kernel: str = ""
    kernel_least: str = ""
    zone: str | None = None
    zones_embedded: bool | None = None
