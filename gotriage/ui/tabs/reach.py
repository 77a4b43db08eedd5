"""The walk to the target's port, or from it to a peer: `s` takes it to its first port, `a` asks where to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.reach import Reach
from gotriage.render import reach
from gotriage.ui.checks_tab import ChecksTab

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.render.sections import Line


class ReachTab(ChecksTab):
    """The newest walk."""

    asks: ClassVar[str] = "walk to"
    hint: ClassVar[str] = "8080   10.0.0.1:8080   > db.example.com:5432 from the target"

    def sections(self, width: int) -> Iterable[Line]:
        """As `show reach`."""
        record = self.front.session.latest(Reach)
        return reach.page(record, width) if record is not None else ()

    def chosen(self, text: str) -> dict[str, str]:
        """ "> HOST:PORT" is from the target."""
        if text.startswith(">"):
            return {"from_target": text[1:].strip()}
        return {"to": text}
