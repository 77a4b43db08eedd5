"""What a row of the catalogue holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gotriage.records import Record
    from gotriage.render.columns import Column

Price = Literal["free", "light", "heavy", "stops"]
"""free reads /proc, cgroupfs, the journal; light reads memory, netlink, in-kernel counts; heavy and stops ask first."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from.

    Attributes:
        name: the collector's name in heartbeats, gaps and requests.
        backends: "module:Class", best first.
        every: seconds between two looks.
        deadline: seconds that one look may take before it counts as hung.
        targets: the kinds of target it serves.
        idle: also runs while nothing of the target runs (a failed unit, a stopped container).
        needs: the attribute of the target ("unit", "container") that the source is about: where the target has none,
            a source that is `Unavailable` is no loss.
        asked: a trace: it runs only while it is asked for, and its backends are `collectors.Tracer` classes.
        duty: seconds on, of so many, that the agent runs a trace by itself, with its default options; None is never.
        lasts: seconds that a trace runs when nobody says how long; `longest`: at most.
        memory: bytes that have to be left for its code and data; where there are less, it is not loaded.
        budget: the part of the target's CPU that a trace may cost, kept by being attached a part of the time only.
        sends: an active check: it sends something to somebody, names in its price what and to whom, and nothing but a
            request starts it, not even a look at its tab.
    """

    name: str
    backends: tuple[str, ...]
    records: tuple[type[Record], ...]
    every: float = 1.0
    deadline: float = 5.0
    price: Price = "free"
    targets: tuple[str, ...] = ("pid", "unit", "container")
    idle: bool = False
    needs: str = ""
    about: str = ""
    asked: bool = False
    duty: tuple[float, float] | None = None
    lasts: float = 600.0
    longest: float = 3600.0
    memory: int = 0
    budget: float | None = None
    sends: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One view: a tab of the TUI, an argument of `show`, a part of every snapshot.

    Attributes:
        key: the number key of its tab.
        table: the record type whose `rows` are the view's table, or None when the view is a page of its own.
        record: for a page: the record types that `show` prints, one object each.
        price: the dearest source that runs by itself.
        command: the shell command that would show about the same; {pid}, {unit}, {container} are filled in.
        facts: `show --json` gives the table record's own facts, as an object before the rows.
        short: the title where there is no room for it.
        text: "module:function" of what `show` prints besides the table, where that reads better than field by field:
            it takes the session and a width, and yields lines.
    """

    id: str
    title: str
    key: str
    about: str
    records: tuple[type[Record], ...]
    sources: tuple[str, ...]
    table: type[Record] | None = None
    columns: tuple[Column, ...] = ()
    price: Price = "free"
    command: str = ""
    facts: bool = False
    short: str = ""
    text: str = ""
