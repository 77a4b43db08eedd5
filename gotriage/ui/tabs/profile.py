"""Where the time goes: a flame graph of CPU samples or of all goroutines by the clock, its functions, the threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import Binding

from gotriage.records.profile import CpuProfile, Profile, TopFunction, WallProfile
from gotriage.records.tracing import Traces
from gotriage.render import flame, profile, profile_export
from gotriage.render.cells import cell
from gotriage.render.goroutines import short
from gotriage.ui.profile_files import write
from gotriage.ui.profile_pages import function_page, nothing_page, summary, under_cursor
from gotriage.ui.state import note
from gotriage.ui.trace_tab import Traced
from gotriage.ui.traces import trace_of
from gotriage.ui.widgets.chrome import OneLine
from gotriage.ui.widgets.flame import FlameView
from gotriage.ui.widgets.page import Page
from gotriage.ui.widgets.table import BigTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.front import Front
    from gotriage.ui.spans import PageLine, Spans
    from gotriage.ui.tab import Hint

CPU, WALL = "profile", "wall"
"""The sources of the view."""
RECORDS: Final[dict[str, type[Profile]]] = {CPU: CpuProfile, WALL: WallProfile}
SHOWN: Final = ("flame", "functions", "threads")
AGAIN: Final = 5.0
"""Seconds of one profile while it is taken anew again and again; `LONGEST`: for how long that goes on."""
LONGEST: Final = 300.0
PLACES: Final = {"user": "strong", "kernel": "dim", "runtime": "dim"}


class ProfileTab(Traced):
    """One kind of profile at a time, in one of three ways."""

    DEFAULT_CSS = """
    ProfileTab > FlameView, ProfileTab > BigTable, ProfileTab > #nothing { display: none; }
    ProfileTab.-flame > FlameView { display: block; }
    ProfileTab.-functions > #functions { display: block; }
    ProfileTab.-threads > #threads { display: block; }
    ProfileTab.-changes > #changes { display: block; }
    ProfileTab.-nothing > #nothing { display: block; }
    ProfileTab > .note { display: none; }
    ProfileTab.-note > .note { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "again", show=False, id="again"),
        Binding("w", "kind", show=False, id="wall-clock"),
        Binding("v", "turn", show=False, id="flame-functions-threads"),
        Binding("b", "by", show=False, id="group-by"),
        Binding("K", "kernel", show=False, id="kernel-frames"),
        Binding("x", "system", show=False, id="runtime-goroutines"),
        Binding("d", "compare", show=False, id="compare"),
        Binding("D", "pin", show=False, id="compare-with-this"),
        Binding("a", "repeat", show=False, id="repeat"),
        Binding("E", "export", show=False, id="export"),
    ]
    by_itself: ClassVar[bool] = False
    every: ClassVar[float] = 0.3

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self._kind, self._shown = CPU, SHOWN[0]
        self._looks = {CPU: flame.Look(), WALL: flame.Look(system=False)}
        self._comparing, self._pinned = False, False
        self._base: Profile | None = None
        self._agreed = False
        self._chance = 0.0
        self._drawn: tuple[object, ...] = ()
        self._profile: Profile | None = None
        self._flame = FlameView(id="flame")
        self._functions = BigTable(
            view.columns,
            key=_function,
            role=self._role,
            text=_text,
            spare=("caller", "own_share"),
            least=26,
            id="functions",
        )
        self._threads = BigTable(profile.THREADS, key=_thread, id="threads")
        self._changes = BigTable(
            profile.CHANGES, key=_function, role=self._role, text=_text, spare=("cum_before",), id="changes"
        )
        self._nothing = Page(lambda width: nothing_page(front, self._kind, width), id="nothing")
        self._summary = OneLine(self._summary_line)
        self._under = OneLine(self._under_line, "surface")
        self._note = OneLine(lambda width: note(front, view.sources, width))
        self._note.add_class("note")

    # -- what there is

    @property
    def _look(self) -> flame.Look:
        """How profiles of the kind are shown: by the clock the runtime's own goroutines only wait."""
        return self._looks[self._kind]

    @property
    def kinds(self) -> Sequence[type[Record]] | None:
        """Profiles, and how their traces fare."""
        return (*self.view.records, Traces)

    @property
    def trace(self) -> str:
        """The source of the kind that is shown."""
        return self._kind

    def options(self) -> dict[str, str]:
        """As the catalogue has it; the kernel's frames are always taken, and hidden here."""
        return {}

    def compose(self) -> ComposeResult:
        """The trace's line, what was sampled, the profile, what the cursor stands on."""
        yield self.trace_status
        yield self._summary
        yield self._flame
        yield self._functions
        yield self._threads
        yield self._changes
        yield self._nothing
        yield self._note
        yield self._under

    def pull(self) -> None:
        """The newest profile of the kind, at the cursor."""
        self._profile = self.front.session.latest(RECORDS[self._kind])
        if self._profile is None and self._kind == CPU and not self._drawn and self._other() is not None:
            self._kind = WALL
            self._profile = self._other()
        base = self._against()
        now = (id(self._profile), id(base), self._look, self._kind)
        if self._profile is not None and now != self._drawn:
            self._draw(self._profile, base)
        self._drawn = now if self._profile is not None else self._drawn
        self._arrange("nothing" if self._profile is None else self._part())
        for line in (self._summary, self._under, self._note):
            line.update()
        Traced.pull(self)

    def _part(self) -> str:
        """The widget that shows the profile; in a comparison the functions that differ."""
        return "changes" if self._shown == "functions" and self._against() is not None else self._shown

    def _arrange(self, shown: str) -> None:
        if not self.has_class(f"-{shown}"):
            for name in (*SHOWN, "changes", "nothing"):
                self.set_class(name == shown, f"-{name}")
            self.call_after_refresh(self.take_focus)
        self.set_class(shown != "nothing" and bool(note(self.front, self.view.sources, 80)), "-note")
        if shown == "nothing":
            self._nothing.compose_again()

    def _other(self) -> Profile | None:
        return self.front.session.latest(WallProfile)

    def _draw(self, shown: Profile, base: Profile | None) -> None:
        if base is None:
            self._flame.show(flame.tree(shown, self._look))
        else:
            self._chance = profile.noise(shown, base)
            self._flame.show(flame.compared(shown, base, self._look), self._chance)
            self._changes.show([row for row in profile.changes(shown, base) if self._wanted(row.frame_kind)])
        self._functions.show([row for row in shown.rows if self._wanted(row.frame_kind)])
        self._threads.show(shown.threads if isinstance(shown, CpuProfile) else ())

    def _wanted(self, kind: str) -> bool:
        return self._look.kernel or kind != "kernel"

    def _against(self) -> Profile | None:
        """The profile that the newest one is compared with: the one that was kept for it, else the one before."""
        if not self._comparing or self._profile is None:
            return None
        if self._pinned and self._base is not None and type(self._base) is type(self._profile):
            return self._base if self._base.run != self._profile.run else None
        earlier = [one for one in self.front.session.series(RECORDS[self._kind]) if one.run != self._profile.run]
        return earlier[-1] if earlier else None

    # -- keys

    def keys(self) -> Sequence[Hint]:
        """Those that work now."""
        if self._profile is None:
            return (*((("r", "take"),) if self._live else ()), ("w", self._other_kind()))
        some: list[Hint] = [("r", "again")] if self._live else []
        if self._shown == "flame":
            some += [("⏎", "zoom"), ("b", "by")]
        return [
            *some,
            ("v", self._next()),
            ("w", self._other_kind()),
            ("d", "compare"),
            ("K", "kernel"),
            ("E", "export"),
        ]

    def _other_kind(self) -> str:
        return "wall-clock" if self._kind == CPU else "CPU"

    def _next(self) -> str:
        names = [name for name in SHOWN if name != "threads" or self._kind == CPU]
        return names[(names.index(self._shown) + 1) % len(names)] if self._shown in names else names[0]

    def action_again(self) -> None:
        """Take one; the first CPU profile after a question."""
        if not self._live:
            self._say("nothing can be taken here: this is what was recorded", "warning")
        elif self.running:
            self._say("one is being taken; s ends it")
        elif self._kind == WALL or self._agreed:
            self.start(self.trace, self.options(), AGAIN)
        else:
            self.start_asking(self.trace, self.options(), AGAIN)

    def start(self, name: str = "", options: dict[str, str] | None = None, seconds: float | None = None) -> None:
        """Somebody has said yes: from now on the same may be started without a question."""
        self._agreed = self._agreed or (name or self.trace) == CPU
        super().start(name, options, seconds)

    def action_repeat(self) -> None:
        """A new one every few seconds, or no more."""
        if not self._live:
            self._say("nothing can be taken here: this is what was recorded", "warning")
            return
        row = trace_of(self.front, self.trace)
        if self.running and row is not None and "window" in row.options:
            self.finish()
            self._say("no more profiles are taken")
            return
        wanted = {**self.options(), "window": f"{AGAIN:g}"}
        if self._kind == WALL or self._agreed:
            self.start(self.trace, wanted, LONGEST)
        else:
            self.start_asking(self.trace, wanted, LONGEST)

    def action_kind(self) -> None:
        """The other kind; a wall-clock profile is light, and begins when there is none."""
        self._kind = WALL if self._kind == CPU else CPU
        if self._shown == "threads":
            self._shown = SHOWN[0]
        if self._kind == WALL and self._live and self.front.session.latest(WallProfile) is None and not self.running:
            self.start(WALL, self.options(), AGAIN)
        self.pull_now()
        self._refresh_lines()

    def action_turn(self) -> None:
        """Flame graph, functions, threads."""
        self._shown = self._next()
        self.pull_now()
        self._refresh_lines()

    def action_by(self) -> None:
        """Group by the next thing that tells samples apart."""
        if self._profile is None:
            return
        there = flame.choices(self._profile)
        place = there.index(self._look.by) if self._look.by in there else -1
        self._change(by=there[(place + 1) % len(there)])
        self._say(f"by {self._look.by.replace(':', ' ')}" if self._look.by else "not grouped")

    def action_kernel(self) -> None:
        """Show the kernel's frames, or not."""
        self._change(kernel=not self._look.kernel)
        self._say("with the kernel's frames" if self._look.kernel else "without the kernel's frames")

    def action_system(self) -> None:
        """Show the runtime's own goroutines, or not."""
        self._change(system=not self._look.system)
        self._say("with the runtime's own goroutines" if self._look.system else "without the runtime's own goroutines")

    def _change(self, *, by: str | None = None, kernel: bool | None = None, system: bool | None = None) -> None:
        look = self._look
        self._looks[self._kind] = flame.Look(
            look.by if by is None else by,
            look.kernel if kernel is None else kernel,
            look.system if system is None else system,
        )
        self.pull_now()

    def action_compare(self) -> None:
        """Against the profile before, or the one that was kept; again: no more."""
        self._comparing = not self._comparing
        if self._comparing and self._against() is None:
            self._comparing = False
            self._say("there is no earlier profile to compare with: r takes another", "warning")
        self.pull_now()

    def action_pin(self) -> None:
        """Compare the next ones with this one."""
        if self._profile is not None:
            self._base, self._pinned, self._comparing = self._profile, True, True
            self._say("the next ones are compared with this one; d ends that")

    def action_export(self) -> None:
        """Write it in another tool's format."""
        if self._profile is not None:
            forms = ", ".join(profile_export.FORMS)
            self.screen.ask("export as", self._export, profile_export.FORMS[0], forms)  # type: ignore[attr-defined]  # every screen is a Frame

    def _export(self, form: str) -> None:
        form = form.strip().lower()
        if self._profile is None or not form:
            return
        if form not in profile_export.FORMS:
            self._say(f"no such form; there are {', '.join(profile_export.FORMS)}", "warning")
        else:
            self._say(*write(self.front, self._profile, form))

    def _say(self, text: str, role: str = "info") -> None:
        self.screen.say(text, role)  # type: ignore[attr-defined]  # every screen is a Frame

    # -- what the screen asks

    def _refresh_lines(self) -> None:
        self.screen.update_lines()  # type: ignore[attr-defined]  # every screen is a Frame

    def on_line_view_moved(self) -> None:
        """Another node: the line about it."""
        self._under.update()

    def on_flame_view_zoomed(self) -> None:
        """Another part: the line about it."""
        self._under.update()

    def take_focus(self) -> None:
        """Keys go to what is in sight."""
        (self._nothing if self._profile is None else self._table() or self._flame).focus()

    def _table(self) -> BigTable | None:
        """The table that is shown; None for the flame graph."""
        tables = {"functions": self._functions, "threads": self._threads, "changes": self._changes}
        return tables.get(self._part()) if self._profile is not None else None

    def find(self, text: str, step: int = 1) -> bool:
        """The next place with the text in what is shown; in the flame graph all are marked, and add up."""
        if self._profile is None:
            return self._nothing.find(text, step)
        if (table := self._table()) is not None:
            return table.find(text, step)
        found = self._flame.find(text, step)
        self._summary.update()
        if found and text:
            self._say(f"{profile.percent(flame.matched(self._flame.root, text))} of the samples are in {text!r}")
        return found

    def narrow(self, text: str) -> bool:
        """Only functions with the text."""
        if (table := self._table()) is None:
            return False
        table.narrow(text)
        return True

    def sort(self, *, reverse: bool = False) -> str:
        """By the next column of a table."""
        table = self._table()
        return table.sort(reverse=reverse) if table is not None else ""

    def back(self) -> bool:
        """Out of a zoom; no filter any more."""
        table = self._table()
        if table is None:
            return self._profile is not None and self._flame.back()
        if not table.filter:
            return False
        table.narrow("")
        return True

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """Who calls the selected function, and whom it calls."""
        row, shown = self._functions.row, self._profile
        if self._part() != "functions" or shown is None or not isinstance(row, TopFunction):
            return None
        return row.function, lambda width: list(function_page(shown, row, width))

    def copied(self) -> str:
        """The stack down to what is chosen, or the row."""
        table = self._table()
        if table is not None:
            return table.row_text
        return "\n".join(name for name, _ in reversed(self._flame.chosen.path))

    # -- lines

    def _role(self, row: object, column: Column) -> str:
        if column.field == "function":
            return PLACES.get(getattr(row, "frame_kind", ""), "")
        if column.field == "change":
            value = getattr(row, "change", 0.0)
            return "dim" if abs(value) < self._chance else "warning" if value > 0 else "good"
        return "" if column.unit == "share" and cell(row, column) != "0 %" else "dim"

    def _summary_line(self, width: int) -> Spans:
        if self._profile is None:
            return ()
        return summary(self._profile, self._against(), self._look, width, threads=self._shown == "threads")

    def _under_line(self, width: int) -> Spans:
        if self._profile is None or self._shown != "flame":
            return ()
        return under_cursor(self._profile, self._flame.chosen, self._flame.root, width)


def _function(row: object) -> object:
    return getattr(row, "function", ""), getattr(row, "frame_kind", "")


def _thread(row: object) -> object:
    return getattr(row, "tid", 0)


def _text(row: object, column: Column) -> str:
    """Functions without the folders of their packages, which the page of the row has."""
    if column.field == "change":
        return profile.points(getattr(row, "change", 0.0))
    return short(cell(row, column)) if column.field in ("function", "caller", "creator") else cell(row, column)
