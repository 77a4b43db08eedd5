"""What `?` and `e` show: the keys, where a view's facts come from and what they cost; and the like shell command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.catalog import source
from gotriage.records.stream import Heartbeat
from gotriage.render import units
from gotriage.render.text import wrap
from gotriage.ui.shell import filled
from gotriage.ui.spans import PageLine, fit, labelled, width_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.catalog import View
    from gotriage.ui.front import Front
    from gotriage.ui.tab import Hint

KEYS: tuple[tuple[str, tuple[Hint, ...]], ...] = (
    (
        "Move",
        (
            ("j k ↓ ↑", "one row"),
            ("PgDn PgUp", "one page"),
            ("g G Home End", "first, last"),
            ("Enter", "into the row"),
            ("Backspace", "back"),
            ("1-9 Tab", "the views; P Y H C B those that trace"),
        ),
    ),
    (
        "Find",
        (
            ("/ n N", "search, next, previous"),
            ("&", "only rows with ..."),
            ("o O", "sort by the next column, reverse"),
            ("Escape", "clear the search, the filter"),
            (": Ctrl-P", "all commands by name"),
        ),
    ),
    (
        "Time",
        (
            ("Space", "pause, go on"),
            (", .", "one step back, forward"),
            ("t", "jump to a time"),
            ("f", "follow: back to the newest"),
        ),
    ),
    (
        "Take away",
        (
            ("S", "snapshot into a file"),
            ("e", "the shell command that shows the same"),
            ("y", "copy the row"),
            ("!", "a shell in the target's namespaces"),
            ("q Ctrl-C", "quit"),
        ),
    ),
)
PICKER_KEYS: tuple[tuple[str, tuple[Hint, ...]], ...] = (
    (
        "Move",
        (
            ("j k ↓ ↑", "one row"),
            ("PgDn PgUp", "one page"),
            ("g G Home End", "first, last"),
            ("Enter", "look into it"),
        ),
    ),
    (
        "Find",
        (
            ("/ n N", "search, next, previous"),
            ("&", "only rows with ..."),
            ("o O", "sort by the next column, reverse"),
            ("Escape", "clear the search, the filter"),
            ("y", "copy the row"),
            ("q Ctrl-C", "quit"),
        ),
    ),
)
PRICES = {
    "free": "free: reads what the kernel and the journal keep anyway",
    "light": "light: reads memory or counts in the kernel; the target runs on",
    "heavy": "heavy: slows the target; asks first",
    "stops": "stops: halts the target for moments; asks first",
}


def help_page(
    front: Front, view: View, hints: Sequence[Hint], width: int, filters: Sequence[Hint] = ()
) -> list[PageLine]:
    """The view in a sentence, its sources with their price, its own keys and what its filter takes, then all keys."""
    lines = [PageLine(((view.title, "title"),))]
    lines += [PageLine(((f"  {text}", ""),)) for text in wrap(view.about, width - 4)]
    lines.append(PageLine())
    lines += _sources(front, view, width)
    if hints:
        lines.append(PageLine((("Keys of this view", "heading"),)))
        lines += [PageLine((("  ", ""), (fit(key, 16), "key"), (text, ""))) for key, text in hints]
        lines.append(PageLine())
    if filters:
        lines += [*filter_lines(filters, width), PageLine()]
    lines += _keys(width, KEYS)
    return lines


def filter_lines(filters: Sequence[Hint], width: int) -> Iterator[PageLine]:
    """What can be typed at `&`, an example a line."""
    yield PageLine((("What & takes", "heading"), ("   all that is typed must hold", "dim")))
    for example, text in filters:
        for number, part in enumerate(wrap(text, width - 18)):
            yield PageLine((("  ", ""), (fit(example if not number else "", 16), "key"), (part, "")))


def picker_page(width: int) -> list[PageLine]:
    """Which processes the picker lists, what stands in a row, and the keys."""
    row = source("services")
    about = (
        "Every running process whose executable is a Go program, once for each. They keep their places from look to "
        "look; new ones come last. o sorts by the next column, once."
    )
    lines = [PageLine((("Which one?", "title"),)), *[PageLine(((f"  {text}", ""),)) for text in wrap(about, width - 4)]]
    lines.append(PageLine((("  ▲ ", "warning"), ("a finding shows already; it is named in the rule above", ""))))
    lines.append(PageLine())
    if row is not None:
        lines.append(PageLine((("Where it comes from", "heading"), (f"   {PRICES[row.price]}", "dim"))))
        lines.append(PageLine(((f"  {row.about}; every {units.seconds(row.every)}", ""),)))
        lines.append(PageLine())
    lines += _keys(width, PICKER_KEYS)
    for text in wrap("Any process, unit or container: gotriage --pid N, --unit NAME, --container REF", width - 4):
        lines.append(PageLine(((text, "dim"),)))
    return lines


def _sources(front: Front, view: View, width: int) -> Iterator[PageLine]:
    yield PageLine((("Where it comes from", "heading"), (f"   {PRICES[view.price]}", "dim")))
    if not view.sources:
        yield PageLine((("  everything that is known, judged by the rules", ""),))
    beat = front.session.latest(Heartbeat)
    for name in view.sources:
        row = source(name)
        if row is None:
            continue
        state = beat.collectors.get(name) if beat is not None else None
        said = ""
        if state is not None:
            took = f" in {units.seconds(state.took)}" if state.took is not None else ""
            said = f"{state.state}, read {units.clock(state.last)}{took}" if state.last else state.state
            said += f", {state.backend}" if state.backend else ""
        text = f"{row.about}; every {units.seconds(row.every)}, {row.price}" + (f"; {said}" if said else "")
        for spans in labelled(name, text, width, indent=2, column=15):
            yield PageLine(spans)
    yield PageLine()


def _keys(width: int, groups: Sequence[tuple[str, tuple[Hint, ...]]]) -> Iterator[PageLine]:
    """The groups of keys: two beside each other where there is room."""
    blocks = [
        [((title, "heading"),), *[(("  ", ""), (fit(k, 14), "key"), (t, "")) for k, t in keys]]
        for title, keys in groups
    ]
    if width < 100:  # two columns of about fifty
        for block in blocks:
            for spans in block:
                yield PageLine(spans)
            yield PageLine()
        return
    half = width // 2
    for left, right in zip(blocks[::2], blocks[1::2], strict=True):
        for number in range(max(len(left), len(right))):
            first = left[number] if number < len(left) else ()
            second = right[number] if number < len(right) else ()
            yield PageLine((*first, (" " * (half - width_of(first)), ""), *second))
        yield PageLine()


def command_page(front: Front, command: str, width: int) -> list[PageLine]:
    """The commands, ready to copy, one after the other."""
    lines = [PageLine((("A shell command that shows about the same:", "dim"),)), PageLine()]
    found = filled(command, front.target)
    for number, text in enumerate(found):
        lines += [PageLine(((part, "strong"),), item=number) for part in wrap(text, width)]
    if not found:
        lines.append(PageLine((("there is none for this target", "dim"),)))
    lines += [PageLine(), PageLine((("y copies the selected one", "dim"),))]
    return lines
