"""Certificates; `s` looks at what the target's own listeners serve, `a` at a peer, with the target's bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.tls import Tls, TlsChecks
from gotriage.render import tls
from gotriage.ui.checks_tab import ChecksTab

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.render.sections import Line


class TlsTab(ChecksTab):
    """What was met, what was given, who is trusted."""

    asks: ClassVar[str] = "meet a peer"
    hint: ClassVar[str] = "api.example.com:443   or 10.0.0.9:8443 sni=api.example.com"

    def sections(self, width: int) -> Iterable[Line]:
        """As `show tls`."""
        session = self.front.session
        return tls.page(session.latest(Tls), session.latest(TlsChecks), width)

    def chosen(self, text: str) -> dict[str, str]:
        """A peer, or several, and the name to ask for; only a name asks the own listeners for it."""
        words = text.split()
        sni = next((word.partition("=")[2] for word in words if word.startswith("sni=")), "")
        peers = ",".join(word for word in words if not word.startswith("sni="))
        return {**({"peer": peers} if peers else {}), **({"sni": sni} if sni else {})}
