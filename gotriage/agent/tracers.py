"""The backends of a trace, best first: which of them serves here, and why not a better one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from msgspec.structs import replace

from gotriage.agent.backends import check_room, load
from gotriage.agent.gaps import DENIALS, gap_of
from gotriage.collectors import Unavailable
from gotriage.errors import GotriageError, MissingFacility, NotPermitted, UsageError, reason_of
from gotriage.records.text import clean
from gotriage.records.tracing import Price, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gotriage.catalog import Source
    from gotriage.collectors import Tracer
    from gotriage.host import Host
    from gotriage.target.model import Target

PASSED: Final = (MissingFacility, NotPermitted, OSError)
"""Errors of one backend, after which the next one is tried."""
LONGEST_OPTION: Final = 48 * 1024
"""Characters: a script of the user's own is the longest."""


class NotStarted(Exception):
    """No backend serves; the row says why."""

    def __init__(self, row: Trace, error: Exception | None = None) -> None:
        super().__init__(row.reason)
        self.row, self.error = row, error


def row_of(source: Source, options: Mapping[str, str]) -> Trace:
    """The source with these options, before its start. Raises UsageError for one that no source could take."""
    if any(len(text) > LONGEST_OPTION for text in options.values()):
        raise UsageError("an option is too long")
    shown = {clean(key, 64): clean(value, 256) for key, value in options.items() if key != "script"}
    return Trace(source=source.name, options=shown, price_class=source.price, budget=_budget(source, options))


def _budget(source: Source, options: Mapping[str, str]) -> float | None:
    """The part of the target's CPU; the option is in percent, "off" for none."""
    text = options.get("budget", "")
    if not text:
        return source.budget
    if text == "off":
        return None
    try:
        percent = float(text.rstrip("%"))
    except ValueError:
        percent = -1.0
    if not 0.0 < percent <= 100.0:
        raise UsageError(f"budget {clean(text, 40)!r} is not a percentage of the target's CPU, nor off")
    return max(percent / 100, 0.001)


def choose(
    source: Source, host: Host, target: Target, row: Trace, options: Mapping[str, str], *, start: bool
) -> tuple[Tracer, Trace]:
    """The first backend that serves, started or only priced. Raises NotStarted."""
    try:
        check_room(source, host)
    except Unavailable as error:
        refused = replace(row, state="refused", reason=str(error), remedy=error.remedy)
        raise NotStarted(refused, error) from error
    passed: list[tuple[str, Exception]] = []
    wanted = options.get("backend", "")
    kinds = [cast("type[Tracer]", load(name)) for name in source.backends]
    for kind in kinds:
        if wanted and wanted not in _names_of(kind):
            continue
        tracer: Tracer | None = None
        try:
            tracer = kind(host, target)
            price = tracer.price(options)
            if start:
                tracer.start(options)
            better = tuple(_said(*one) for one in passed)
            return tracer, replace(row, backend=tracer.backend, price=cleaned(price), passed_over=better)
        except Exception as error:
            if tracer is not None:
                tracer.close()
            if isinstance(error, PASSED):
                passed.append((kind.backend, error))
            elif isinstance(error, GotriageError):
                refused = replace(row, state="refused", reason=clean(str(error), 1000), backend=kind.backend)
                raise NotStarted(refused, error) from error
            else:
                raise
    if not passed:
        raise _no_such(row, wanted, kinds)
    raise _none_serves(source, row, passed) from passed[0][1]


def _no_such(row: Trace, wanted: str, kinds: list[type[Tracer]]) -> NotStarted:
    known = ", ".join(dict.fromkeys(each for kind in kinds for each in _names_of(kind)))
    refused = replace(row, state="refused", reason=f"no backend {clean(wanted, 40)!r}; there are: {known}")
    return NotStarted(refused, UsageError(refused.reason))


def _none_serves(source: Source, row: Trace, passed: list[tuple[str, Exception]]) -> NotStarted:
    """The best backend's error is what there is to mend."""
    first = passed[0][1]
    said = tuple(_said(*one) for one in passed)
    reason = clean(reason_of(first), 1000) if len(passed) == 1 else "; ".join(said)
    remedy = gap_of(source.name, first).remedy or (first.remedy if isinstance(first, Unavailable) else "")
    refused = replace(row, state="refused", reason=reason, remedy=remedy, passed_over=said)
    return NotStarted(refused, first if isinstance(first, DENIALS) else MissingFacility(reason))


def _said(backend: str, error: Exception) -> str:
    return f"{backend}: {clean(reason_of(error), 400)}"


def _names_of(kind: type[Tracer]) -> tuple[str, ...]:
    """What a class calls itself, or the several backends that it chooses from."""
    several: tuple[str, ...] = getattr(kind, "backends", ())
    return several or (kind.backend,)


def cleaned(price: Price) -> Price:
    """Words of a price may hold names of the target's."""
    return replace(price, words=tuple(clean(word, 400) for word in price.words[:8]))
