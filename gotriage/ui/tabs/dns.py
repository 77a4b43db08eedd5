"""How the target looks names up; `s` asks its name servers about names of log and configuration, `a` about others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.dns import Dns, DnsChecks
from gotriage.render import dns
from gotriage.rules.lookups import failing_names
from gotriage.ui.checks_tab import ChecksTab

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.render.sections import Line

MOST_NAMES = 4


class DnsTab(ChecksTab):
    """Traps, answers, settings."""

    asks: ClassVar[str] = "ask for a name"
    hint: ClassVar[str] = "db.example.com   or several, with commas"

    def sections(self, width: int) -> Iterable[Line]:
        """As `show dns`."""
        session = self.front.session
        return dns.page(session.latest(Dns), session.latest(DnsChecks), width)

    def options(self) -> dict[str, str]:
        """Names that the log says cannot be looked up; without, the agent takes those of the configuration."""
        names = failing_names(self.front.session)[:MOST_NAMES]
        return {"name": ",".join(names)} if names else {}

    def chosen(self, text: str) -> dict[str, str]:
        """The names that were typed."""
        return {"name": ",".join(text.replace(",", " ").split())}
