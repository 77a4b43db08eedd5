"""The page about certificates: whom the target trusts, what it was given, what it serves and meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.tls import Tls, TlsChecks
from gotriage.render import sections, units
from gotriage.render.sections import heading, labelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.tls import Certificate, GivenCertificate, Handshake, TrustSource
    from gotriage.render.sections import Line
    from gotriage.session.store import Session

SOON: Final = 14
"""Days before the end of a certificate from which on it is coloured."""
DAY: Final = 86400
FEW: Final = 3
"""Days from which on hours do not matter."""
ROLES: Final = {"loaded": "good", "missing": "dim", "passed over": "dim", "unreadable": "critical", "empty": "warning"}


def lines(session: Session, width: int | None) -> Iterator[str]:
    """For `show`."""
    yield from sections.plain(page(session.latest(Tls), session.latest(TlsChecks), width))


def page(known: Tls | None, checks: TlsChecks | None, width: int | None) -> Iterator[Line]:
    """All sections: what was met, what was given, who is trusted."""
    if checks is not None:
        yield from _checks(checks, width)
    if known is not None:
        yield from _given(known, width)
        yield from _trust(known, width)


def expiry(one: Certificate, now: datetime) -> tuple[str, str]:
    """Until when it is valid, in words, and the role."""
    day = f"{one.not_after:%Y-%m-%d}"
    if one.not_before > now:
        return f"not valid before {one.not_before:%Y-%m-%d %H:%M} UTC", "critical"
    left = (one.not_after - now).total_seconds()
    if left < 0:
        return f"expired {day}, {_days(-left)} ago", "critical"
    return f"until {day}, {_days(left)}", "warning" if left < SOON * DAY else ""


def _days(left: float) -> str:
    """Days, where there are some."""
    return f"{left // DAY:,.0f} days" if left >= FEW * DAY else units.seconds(left // 60 * 60)


def _checks(checks: TlsChecks, width: int | None) -> Iterator[Line]:
    by = f", verified with {checks.roots} authorities" if checks.roots else ""
    yield heading("Met", f"at {units.clock(checks.at)}{by}")
    if not checks.rows:
        yield (("  ", ""), ("the target listens on no TCP port", "dim"))
    for row in checks.rows:
        yield from _met(row, checks.at, width)
    for trap in checks.traps:
        yield from labelled("▲", trap.what, width, "warning")
        yield from labelled("", "; ".join(part for part in (trap.why, trap.fix) if part), width, "dim")
    yield ()


def _met(row: Handshake, now: datetime, width: int | None) -> Iterator[Line]:
    name = f" for {row.server_name}" if row.server_name and not row.address.startswith(f"{row.server_name}:") else ""
    what = "own listener" if row.own else "peer"
    took = f", {units.latency(row.seconds)}" if row.seconds is not None else ""
    yield (("  ", ""), (row.address, "strong"), (f"  {what}{name}  {row.protocol}{took}".rstrip().rstrip(","), "dim"))
    if row.error:
        plain = row.own and row.error == "it does not speak TLS"
        yield from labelled("  no handshake", row.error, width, "dim" if plain else "critical")
    if row.verified is not None:
        words = "yes, by the target's bundle" if row.verified else f"no: {row.problem}"
        yield from labelled("  trusted", words, width, "good" if row.verified else "critical")
    for number, one in enumerate(row.chain):
        yield from _certificate("  its own" if number == 0 else "  sent with it", one, now, width, names=number == 0)


def _certificate(label: str, one: Certificate, now: datetime, width: int | None, *, names: bool) -> Iterator[Line]:
    until, role = expiry(one, now)
    by = "self-signed" if one.self_signed else f"by {one.issuer}"
    yield from labelled(label, f"{one.subject or '(no common name)'}, {by}, {one.key}, {one.signature}", width)
    yield from labelled("", until, width, role)
    if names and one.names:
        more = f" and {one.names_count - len(one.names)} more" if one.names_count > len(one.names) else ""
        yield from labelled("", f"for {', '.join(one.names)}{more}", width, "dim")


def _given(known: Tls, width: int | None) -> Iterator[Line]:
    if not known.given:
        return
    yield heading("Certificates that it was given", str(len(known.given)))
    for one in known.given:
        yield from _file(one, known.at, width)
    yield ()


def _file(one: GivenCertificate, now: datetime, width: int | None) -> Iterator[Line]:
    changed = f", changed {units.timestamp(one.changed_at)[:16]}" if one.changed_at is not None else ""
    count = f"{one.count} certificates" if one.count != 1 else "1 certificate"
    yield (("  ", ""), (one.path, "strong"))
    yield from labelled("", f"{one.source}, {count}{changed}", width, "dim")
    yield from labelled("  cannot be read", one.reason, width, "critical")
    for number, certificate in enumerate(() if one.is_bundle else one.chain):
        yield from _certificate("  its first" if not number else "", certificate, now, width, names=number == 0)


def _trust(known: Tls, width: int | None) -> Iterator[Line]:
    yield heading("Authorities that Go would load", "" if known.roots is None else f"{known.roots} certificates")
    if known.expired:
        yield from labelled("expired", f"{known.expired} of them", width, "dim")
    if known.next_expiry is not None:
        yield from labelled("next to expire", f"{known.next_expiry:%Y-%m-%d}", width)
    if known.roots == 0 and not known.embedded:
        text = "none: each certificate is of an unknown authority, unless the program brings its own"
        yield from labelled("trusts", text, width, "warning")
    if known.embedded:
        yield from labelled("brings its own", f"{known.embedded}, used where the system has none", width)
    for name, value in known.variables.items():
        yield from labelled(name, value, width)
    yield from sections.table(
        ("WHERE", "STATE", "HOLDS", "BECAUSE OF"),
        [_source(one) for one in known.sources],
        width,
        right=(2,),
        role=lambda row, column: ROLES.get(known.sources[row].state, "") if column == 1 else "",
    )


def _source(one: TrustSource) -> tuple[str, ...]:
    holds = units.UNKNOWN if one.certificates is None else f"{'+' if one.directory else ''}{one.certificates}"
    broken = f", {one.broken} broken" if one.broken else ""
    state = f"{one.state}: {one.reason}" if one.reason else one.state + broken
    return one.path + ("/" if one.directory else ""), state, holds, one.source
