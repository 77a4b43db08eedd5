"""A walk as text: one line a step, the cause with its evidence and what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.reach import Reach
from gotriage.render import sections
from gotriage.render.text import wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.render.sections import Line
    from gotriage.session.store import Session

SIGNS: Final = {"ok": ("✓", "good"), "failed": ("✖", "critical"), "unknown": ("?", "warning"), "left out": ("·", "dim")}
STEP: Final = 12


def lines(session: Session, width: int | None) -> Iterator[str]:
    """For `show` and `check --reach`."""
    record = session.latest(Reach)
    if record is not None:
        yield from sections.plain(page(record, width))


def place(record: Reach) -> str:
    """Where to, in words."""
    address = f"[{record.address}]" if ":" in record.address else record.address
    to = f"{address or 'port '}{':' if address else ''}{record.port}"
    return f"from the target to {to}" if record.direction == "out" else f"to {to}"


def page(record: Reach, width: int | None) -> Iterator[Line]:
    """The whole walk."""
    words = {True: ("reached", "good"), False: ("not reached", "critical"), None: ("not known", "warning")}
    text, role = words[record.reached]
    yield ((f"{place(record)}: ", "strong"), (text, role))
    yield ()
    room = (width or sections.NO_WIDTH) - STEP - 5
    for row in record.rows:
        sign, colour = SIGNS[row.state]
        says = row.says or "not asked" if row.state == "left out" else row.says
        for number, part in enumerate(wrap(says, room)):
            head = ((f"  {sign} ", colour), (row.step.ljust(STEP), "label" if row.state != "failed" else colour))
            yield (
                *(head if not number else ((" " * (STEP + 4), ""),)),
                (part, "dim" if row.state == "left out" else ""),
            )
        for told, tint in (
            *((text, "dim") for text in row.evidence),
            *(((f"→ {row.fix}", "accent"),) if row.fix else ()),
        ):
            for part in wrap(told, room - 2):
                yield ((" " * (STEP + 6), ""), (part, tint))
    if record.sent:
        yield ()
        yield ((f"  sent: {record.sent}", "dim"),)
