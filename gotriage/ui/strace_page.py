"""Arguments of single system calls, by strace: a page of the system calls' tab, with a start that asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.straced import Straced
from gotriage.render import straced, units
from gotriage.render.straced import means
from gotriage.render.syscalls import Section
from gotriage.render.text import wrap
from gotriage.ui.call_pages import section_lines
from gotriage.ui.screens.drill import DrillScreen
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.traces import status_line, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from textual.binding import BindingType

    from gotriage.records.straced import StracedCall
    from gotriage.ui.front import Front
    from gotriage.ui.tab import Hint
    from gotriage.ui.trace_tab import Traced

    Build = Callable[[int], Sequence[PageLine]]

NAME = "strace"
"""Its source in the catalogue."""
SECONDS = 3.0
SHOWN = 300
"""Calls that the page lists one by one."""
LABEL = 11


class StraceScreen(DrillScreen):
    """What strace told; `s` starts it for some seconds after a question, or ends it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "trace", show=False)]

    def __init__(self, front: Front, tab: Traced) -> None:
        super().__init__(
            front,
            (tab.view.title, "arguments (strace)"),
            lambda width: list(page(front, width)),
            lambda item: open_item(front, item),
        )
        self._tab = tab

    @property
    def _traced(self) -> bool:
        row = trace_of(self.front, NAME)
        return row is not None and row.active

    def hints(self) -> Sequence[Hint]:
        """Its own key first."""
        live = self.front.link is not None and not self.front.finished
        return [*([("s", "stop" if self._traced else "start")] if live else []), *super().hints()]

    def action_trace(self) -> None:
        """Start it after a question, or end it."""
        if self.front.link is None or self.front.finished:
            self.say("nothing can be started here: this is what was recorded", "warning")
        elif self._traced:
            self._tab.finish(NAME)
        else:
            self._tab.start_asking(NAME, {}, SECONDS)


def open_page(tab: Traced) -> None:
    """Above the tab; with nothing to show it asks at once."""
    screen = StraceScreen(tab.front, tab)
    tab.app.push_screen(screen)
    if tab.front.session.latest(Straced) is None and tab.front.link is not None and not tab.front.finished:
        screen.action_trace()


def page(front: Front, width: int) -> Iterator[PageLine]:
    """Failures by place, slow calls, sums, and the calls themselves."""
    yield PageLine(tuple(status_line(front, NAME, width)))
    record = front.session.latest(Straced)
    if record is None:
        yield PageLine()
        yield PageLine((("nothing was traced yet", "strong"),))
        text = (
            "strace shows arguments, results and the reason of each failure, and stops every thread twice at each call."
        )
        for line in wrap(text, width - 2):
            yield PageLine(((line, "dim"),))
        return
    yield PageLine(((straced.head(record), "strong"),))
    yield PageLine()
    for section in (
        straced.failures(record), straced.slowest(record), straced.inside(record), straced.sums(record),
        straced.calls(record, SHOWN),
    ):  # fmt: skip
        if section.rows:
            yield from section_lines(section, width)
    said = straced.events(record)
    if said:
        yield PageLine((("Signals and ends", "title"),))
        for line in said:
            yield PageLine(((f"  {line}", ""),))


def open_item(front: Front, item: Hashable) -> tuple[str, Build] | None:
    """The page that a line leads to: one call whole, or the calls that failed so."""
    record = front.session.latest(Straced)
    if record is None:
        return None
    match item:
        case ("row", int(at)) if at < len(record.rows):
            return _opened(record.rows[at])
        case ("slow", int(at)) if at < len(record.slowest):
            return _opened(record.slowest[at])
        case ("inside", int(at)) if at < len(record.inside):
            return _opened(record.inside[at])
        case ("failed", str(call), str(error), str(where)):
            return f"{call} {error}", lambda width: list(_failed(record, call, error, where, width))
        case ("call", str(call)):
            return call, lambda width: list(_of_call(record, call, width))
    return None


def _opened(row: StracedCall) -> tuple[str, Build]:
    return row.call, lambda width: list(call_page(row, width))


def call_page(row: StracedCall, width: int) -> Iterator[PageLine]:
    """One call, nothing cut."""
    yield PageLine(((row.call, "title"),))
    yield PageLine()
    facts = [
        ("began", units.clock(row.began_at) if row.began_at is not None else "before strace came"),
        ("thread", str(row.tid)),
        ("took", units.latency(row.seconds)),
        ("on", row.where),
        ("arguments", row.arguments),
        ("result", row.result or "it has not returned"),
        ("error", f"{row.error}: {row.words}" if row.error else row.words),
    ]
    for label, value in facts:
        if value:
            for spans in labelled(label, value, width, indent=0, column=LABEL):
                yield PageLine(spans)


def _failed(record: Straced, call: str, error: str, where: str, width: int) -> Iterator[PageLine]:
    failure = next((f for f in record.failures if (f.call, f.error, f.where) == (call, error, where)), None)
    yield PageLine(((f"{call} fails with {error}", "title"), (f" on {where}" if where else "", "title")))
    if failure is not None:
        for line in wrap(means(failure), width - 2):
            yield PageLine(((line, ""),))
    yield PageLine()
    found = [row for row in record.rows if (row.call, row.error, row.where) == (call, error, where)]
    yield from _listed(record, found, width)


def _of_call(record: Straced, call: str, width: int) -> Iterator[PageLine]:
    yield from _listed(record, [row for row in record.rows if row.call == call], width)


def _listed(record: Straced, found: list[StracedCall], width: int) -> Iterator[PageLine]:
    if not found:
        yield PageLine((("not among the last calls that are kept one by one", "dim"),))
        return
    places = {id(row): at for at, row in enumerate(record.rows)}
    section = Section("One by one", straced.CALLS, straced.lines_of(found[-SHOWN:]))
    section = section._replace(items=[("row", places[id(row)]) for row in found[-SHOWN:]])
    yield from section_lines(section, width)
