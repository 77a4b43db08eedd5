"""Which gaps of one source stand open, so that each is written once and closed when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.errors import AS_ROOT, MissingFacility, NotPermitted, reason_of
from gotriage.host import clock
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from gotriage.records import Record


DENIALS = (NotPermitted, PermissionError)


class Gaps:
    """The open gaps of one source. `write` gets what has to go into the stream."""

    def __init__(self, write: Callable[[Record], None]) -> None:
        self._write = write
        self._open: dict[str, dict[str, Gap]] = {}
        self._seen: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """A look begins: gaps that it does not name again are over when it ends."""
        self._seen = set()

    def put(self, gap: Gap) -> None:
        """A gap of now; written when it is new. A closing one closes all of its source."""
        if gap.closed:
            if self._open.pop(gap.source, None):
                self._write(gap)
            return
        self._seen.add((gap.source, gap.reason))
        reasons = self._open.setdefault(gap.source, {})
        if gap.reason not in reasons:
            reasons[gap.reason] = gap
            self._write(gap)

    def end(self) -> None:
        """The look went through: close what it did not name."""
        for source, reasons in list(self._open.items()):
            self._keep(source, [reason for reason in reasons if (source, reason) in self._seen])

    def only(self, gap: Gap) -> None:
        """The look failed as a whole: this is the one gap of `gap.source` now."""
        if gap.source in self._open:
            self._keep(gap.source, [gap.reason])
        self.put(gap)

    def again(self, source: str) -> None:
        """A closing gap of `source` was written by someone else: say again what stays open."""
        for gap in self._open.get(source, {}).values():
            self._write(gap)

    def _keep(self, source: str, kept: list[str]) -> None:
        """Close the source when anything of it is over, then say again what stays."""
        reasons = self._open[source]
        staying = {reason: reasons[reason] for reason in kept if reason in reasons}
        if len(staying) == len(reasons):
            return
        self._write(Gap(at=clock.now(), source=source, closed=True))
        if staying:
            self._open[source] = staying
            self.again(source)
        else:
            del self._open[source]


def gap_of(source: str, error: BaseException, lost: str = "") -> Gap:
    """The gap that an error of a whole source is."""
    known = isinstance(error, (OSError, MissingFacility)) or type(error).__module__.startswith("gotriage.")
    text = clean(reason_of(error), 1000)
    reason = text if known and text else f"{type(error).__name__}: {text}".rstrip(": ")
    # A collector that is not available because of a permission says so by its cause.
    permission = isinstance(error, DENIALS) or isinstance(error.__cause__, DENIALS)
    remedy = getattr(error, "remedy", "") or (AS_ROOT if permission and "sudo" not in text else "")
    return Gap(at=clock.now(), source=source, reason=reason, lost=lost, remedy=remedy, permission=permission)
