"""Certificates: no authorities to trust, expired ones, and peers that are not trusted.

ca-bundle-missing
    SSL_CERT_FILE or SSL_CERT_DIR lead nowhere, or the target has no authorities at all and a certificate was refused
    for it. A program without authorities that needs none is well: nothing is said of it.
certificate-expired
    One that the target was given, serves or meets; those that end within 14 days, or within a third of their life where
    that is shorter, are a warning: renewing takes people.
certificate-untrusted
    Two refusals in a minute that the log tells of (crypto/x509, verify.go), or a handshake that gotriage was asked for.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.findings import Fine
from gotriage.records.tls import Tls, TlsChecks
from gotriage.records.units import clock, counted, seconds
from gotriage.rules import remedies, tracelook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.logs import LogLine
    from gotriage.records.tls import Certificate
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

MISSING: Final = "ca-bundle-missing"
EXPIRED: Final = "certificate-expired"
UNTRUSTED: Final = "certificate-untrusted"
DEFAULTS: Final = {
    MISSING: {"seconds": 60.0},
    EXPIRED: {"days": 14.0, "seconds": 60.0, "check_seconds": 3600.0},
    UNTRUSTED: {"times": 2.0, "seconds": 60.0, "check_seconds": 3600.0},
}
MOST: Final = 3
NO_ROOTS: Final = ("certificate signed by unknown authority", "failed to load system roots")
"""What Go says when it has nobody to trust (crypto/x509, verify.go)."""
PAST: Final = "certificate has expired or is not yet valid"
NOT_TRUSTED: Final = (
    "certificate signed by unknown authority", "certificate is valid for", "cannot validate certificate for",
    "certificate is not valid for any names", "certificate relies on legacy Common Name", "incompatible key usage",
    "certificate is not authorized to sign", "insecure algorithm",
)  # fmt: skip
_URL: Final = re.compile(r"\"(?:https|wss|grpcs)://([^/\"\s]{1,300})")
_DIAL: Final = re.compile(r"\b(?:host|peer|addr|address|target|server)[ =:]+\"?([A-Za-z0-9_.-]{1,253}(?::\d{1,5})?)")
_CLIENT: Final = re.compile(
    r"TLS handshake error from (\S{1,80}): remote error: tls: "
    r"(bad certificate|unknown certificate authority|expired certificate|unknown certificate)"
)
"""A client refused ours (net/http, server.go; the alerts of crypto/tls, alert.go)."""


class Refused(NamedTuple):
    """What the log says of certificates of one peer."""

    words: str
    lines: list[LogLine]

    def __str__(self) -> str:
        times = "once" if len(self.lines) == 1 else f"{len(self.lines)} times"
        return f'the log says {times}, last at {clock(self.lines[-1].at)}: "x509: {self.words}"'


def _said(evidence: Evidence, wanted: tuple[str, ...], long: float) -> dict[str, Refused]:
    """Peers ("" where none is named) whose certificates were refused in these words, by the log."""
    found: dict[str, Refused] = {}
    for line in evidence.lines("x509: ", long, most=500):
        for part in (line.message, *line.fields.values()):
            text = part[: tracelook.LONGEST_LINE]
            words = text.partition("x509: ")[2]
            if any(word in words for word in wanted):
                match = _URL.search(text) or _DIAL.search(text)
                peer = match[1] if match else ""
                found.setdefault(peer, Refused(words[:160].split("\n")[0], [])).lines.append(line)
                break
    return found


def _checks(evidence: Evidence, rule: str) -> TlsChecks | None:
    record = evidence.current(TlsChecks)
    if record is None or (evidence.ago(record.at) or 0.0) > evidence.limit(rule, "check_seconds"):
        return None
    return record


# -- ca-bundle-missing


def bundle(evidence: Evidence) -> Iterator[Claim]:
    """Nobody to trust, and it was needed; or variables that lead nowhere."""
    if not evidence.running:
        return
    known = evidence.current(Tls)
    if known is None:
        yield evidence.unknown(MISSING, "tls")
        return
    if known.roots is None:
        yield evidence.unknown(MISSING, "tls", known.unknown.get("roots"))
        return
    said = _said(evidence, NO_ROOTS, evidence.limit(MISSING, "seconds"))
    checks = _checks(evidence, UNTRUSTED)
    refused = [row for row in checks.rows if row.verified is False] if checks is not None else []
    nowhere = [one for one in known.sources if one.source.startswith("SSL_CERT") and one.state not in ("loaded",)]
    if known.roots or known.embedded:
        yield Fine(MISSING, f"CA bundle {known.roots} certs" if known.roots else "authorities of its own")
        return
    if not (said or refused or nowhere):
        yield Fine(MISSING, "no CA bundle, and none was needed")
        return
    told = [f"{one.source} names {one.path}: {one.state}{f', {one.reason}' * bool(one.reason)}" for one in nowhere]
    told += [f"{peer or 'a peer'}: {lines}" for peer, lines in list(said.items())[:MOST]]
    told += [f"{row.address}: {row.problem}" for row in refused[:MOST]]
    told += _looked(known)
    yield evidence.finding(
        MISSING,
        "critical" if said or refused else "warning",
        "the target has no certificate authorities to trust: no TLS peer can be verified",
        evidence=tuple(told),
        fix=_where_from(evidence, bool(nowhere)),
        view="tls",
        since=min((one.lines[0].at for one in said.values()), default=None),
    )


def _looked(known: Tls) -> list[str]:
    """Where Go looks and finds nothing: what may not be read first."""
    unreadable = [f"{one.path}: {one.reason}" for one in known.sources if one.state == "unreadable"]
    listed = [one.path for one in known.sources if not one.source.startswith("SSL_CERT")]
    if unreadable or not listed:
        return unreadable[:MOST]
    return [f"Go looks in {', '.join(listed[:2])} and {len(listed) - 2} more places: nothing there"]


def _where_from(evidence: Evidence, variables: bool) -> str:
    if variables:
        return "let SSL_CERT_FILE name a PEM file that is there and readable, or unset it; then " + remedies.restart(
            evidence
        )
    if remedies.engine(evidence):
        return (
            "in the image: COPY --from=alpine /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n"
            "for now: mount the host's: -v /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro\n"
            'or in the program: import _ "golang.org/x/crypto/x509roots/fallback"'
        )
    return "apt-get install ca-certificates (or your distribution's), then " + remedies.restart(evidence)


# -- certificate-expired


class Held(NamedTuple):
    """A certificate, where it was seen, and whether clients meet it at the target."""

    where: str
    certificate: Certificate
    view: str = "tls"


def _held(evidence: Evidence, known: Tls | None) -> Iterator[Held]:
    for given in known.given if known is not None else ():
        if given.chain and not given.is_bundle:
            yield Held(f"{given.path} ({given.source})", given.chain[0])
    checks = _checks(evidence, EXPIRED)
    for row in checks.rows if checks is not None else ():
        for number, certificate in enumerate(row.chain):
            who = "the target serves at" if row.own else "the peer"
            yield Held(f"{who} {row.address}" + ("" if not number else f", sent with its own ({number})"), certificate)


def expired(evidence: Evidence) -> Iterator[Claim]:
    """A finding a certificate, and one for peers of whom the log says so."""
    if not evidence.running:
        return
    known = evidence.current(Tls)
    worst: dict[str, tuple[Held, float]] = {}
    places: dict[str, list[str]] = {}
    fine = 0
    for held in _held(evidence, known):
        left = _left(held.certificate, evidence.moment)
        if left > _soon(held.certificate, evidence.limit(EXPIRED, "days")):
            fine += 1
            continue
        print_of = held.certificate.fingerprint
        worst.setdefault(print_of, (held, left))
        places.setdefault(print_of, []).append(held.where)
    for name, (held, left) in list(worst.items())[:MOST]:
        yield _ends(evidence, held.certificate, left, places[name])
    said = _said(evidence, (PAST,), evidence.limit(EXPIRED, "seconds"))
    for peer, lines in list(said.items())[:MOST]:
        early = "is before" in lines.words
        yield evidence.finding(
            EXPIRED,
            "critical",
            f"the certificate of {peer or 'a peer'} {'is not valid yet' if early else 'has expired'}, says the log",
            evidence=(str(lines),),
            fix="see whether the clock is right: timedatectl"
            if early
            else f"renew it at {peer or 'the peer'}; see it:"
            f" press T and a, or: gotriage show tls {_target(evidence)} --trace tls_checks --option peer=HOST:443",
            view="tls",
            subject=peer or evidence.name,
            since=lines.lines[0].at,
        )
    if not worst and not said:
        if known is None:
            yield evidence.unknown(EXPIRED, "tls")
        else:
            yield Fine(EXPIRED, f"{counted(fine, 'certificate')} valid" if fine else "no certificate has expired")


def _left(one: Certificate, now: datetime) -> float:
    """Seconds until its end; for one that is not valid yet, minus the seconds until it is."""
    if one.not_before > now:
        return -(one.not_before - now).total_seconds()
    return (one.not_after - now).total_seconds()


def _soon(one: Certificate, days: float) -> float:
    return max(0.0, min(days * 86400.0, (one.not_after - one.not_before) / timedelta(seconds=3)))


def _ends(evidence: Evidence, one: Certificate, left: float, places: list[str]) -> Claim:
    name = one.subject or ", ".join(one.names[:2]) or "without a name"
    now = evidence.moment
    if one.not_before > now:
        title = f"the certificate {name} is not valid before {one.not_before:%Y-%m-%d %H:%M} UTC"
    elif left < 0:
        title = f"the certificate {name} expired {seconds(-left // 60 * 60)} ago"
    else:
        title = f"the certificate {name} expires in {seconds(left // 60 * 60)}"
    return evidence.finding(
        EXPIRED,
        "critical" if left < 0 else "warning",
        title,
        evidence=(
            *places[:4],
            f"valid {one.not_before:%Y-%m-%d %H:%M} to {one.not_after:%Y-%m-%d %H:%M} UTC, by {one.issuer or 'itself'}",
        ),
        fix="renew it, then reload or " + remedies.restart(evidence) + "; a program reads it at its start, as a rule"
        if one.not_before <= now
        else "see whether the clock is right: timedatectl",
        view="tls",
        subject=name,
    )


# -- certificate-untrusted


def untrusted(evidence: Evidence) -> Iterator[Claim]:
    """A finding a peer that is not trusted, and one for clients that do not trust the target."""
    if not evidence.running:
        return
    said = _said(evidence, NOT_TRUSTED, evidence.limit(UNTRUSTED, "seconds"))
    told: dict[str, tuple[list[str], str, datetime | None]] = {
        peer: ([str(lines)], lines.words, lines.lines[0].at)
        for peer, lines in said.items()
        if len(lines.lines) >= evidence.limit(UNTRUSTED, "times")
    }
    checks = _checks(evidence, UNTRUSTED)
    for row in checks.rows if checks is not None else ():
        if row.verified is False and "expired" not in row.problem:
            chain = "; ".join(f"{one.subject or '?'} by {one.issuer or '?'}" for one in row.chain[:3])
            words = f"asked by gotriage: {row.problem}" + (f"; it sends {chain}" if chain else "")
            peer = next((known for known in told if known in (row.address, row.server_name)), row.address)
            told.setdefault(peer, ([], row.problem, None))[0].append(words)
    for peer, (witnesses, words, since) in list(told.items())[:MOST]:
        yield evidence.finding(
            UNTRUSTED,
            "warning",
            f"the certificate of {peer or 'a peer'} is not trusted: {words[:100]}",
            evidence=(*witnesses, *_pool(evidence)),
            fix=_cure(evidence, words, peer),
            view="tls",
            subject=peer or evidence.name,
            since=since,
        )
    clients = list(_clients(evidence))
    yield from clients
    if not told and not clients:
        if checks is not None and (met := [row for row in checks.rows if row.verified]):
            yield Fine(UNTRUSTED, f"{counted(len(met), 'peer')} verified")
        elif evidence.current(Tls) is not None:
            yield Fine(UNTRUSTED, "no certificate was refused")
        else:
            yield evidence.unknown(UNTRUSTED, "tls")


def _pool(evidence: Evidence) -> list[str]:
    known = evidence.current(Tls)
    if known is None or known.roots is None:
        return []
    where = ", ".join(one.path for one in known.sources if one.state == "loaded")
    return [f"the target trusts {counted(known.roots, 'authority', 'authorities')}{f' of {where}' if where else ''}"]


def _cure(evidence: Evidence, words: str, peer: str) -> str:
    look = f"see the chain: gotriage show tls {_target(evidence)} --trace tls_checks --option peer={peer or 'HOST:443'}"
    if "valid for" in words or "any names" in words or "Common Name" in words or "mismatch" in words.lower():
        return f"use a name that the certificate has, or have it made anew with this one\n{look}"
    return (
        "add the authority that signed it to the target's bundle (SSL_CERT_FILE, or update-ca-certificates); the peer"
        f" has to send its intermediate certificates\n{look}"
    )


def _clients(evidence: Evidence) -> Iterator[Claim]:
    found: dict[str, list[LogLine]] = {}
    for line in evidence.lines("remote error: tls: ", evidence.limit(UNTRUSTED, "seconds"), most=500):
        for part in (line.message, *line.fields.values()):
            if match := _CLIENT.search(part[: tracelook.LONGEST_LINE]):
                found.setdefault(match[2], []).append(line)
                break
    for words, lines in found.items():
        if len(lines) >= evidence.limit(UNTRUSTED, "times"):
            yield evidence.finding(
                UNTRUSTED,
                "warning",
                f"clients refuse the target's certificate: {words}",
                evidence=(f"the log says so {len(lines)} times, last at {clock(lines[-1].at)}",),
                fix=f"see what it serves: gotriage show tls {_target(evidence)} --trace tls_checks",
                view="tls",
                subject="clients",
                since=lines[0].at,
            )


def _target(evidence: Evidence) -> str:
    return str(evidence.target.spec) if evidence.target is not None else ""
