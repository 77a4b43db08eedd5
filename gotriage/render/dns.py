"""The page about names: which resolver, its settings and their traps, and what name servers answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.dns import Dns, DnsChecks
from gotriage.render import sections, units
from gotriage.render.sections import heading, labelled
from gotriage.render.text import wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.dns import Answer, NameChecked, NameServer, Trap
    from gotriage.render.sections import Line
    from gotriage.session.store import Session

RESOLVERS = {
    "go": "Go's own: package net reads the files below and asks the name servers itself",
    "cgo": "libc's, by cgo: getaddrinfo(3), with the modules of nsswitch.conf",
    "": "not known",
}
HOW_TO_ASK = "nothing was asked yet"


def lines(session: Session, width: int | None) -> Iterator[str]:
    """For `show`."""
    yield from sections.plain(page(session.latest(Dns), session.latest(DnsChecks), width))


def page(known: Dns | None, checks: DnsChecks | None, width: int | None) -> Iterator[Line]:
    """All sections: what is wrong first."""
    found = [*(checks.traps if checks is not None else ()), *(known.traps if known is not None else ())]
    if found:
        yield from _traps(found, width)
    if checks is not None:
        yield from _checks(checks, width)
    if known is not None:
        yield from _settings(known, width)
        yield from _files(known, width)


def _traps(found: Sequence[Trap], width: int | None) -> Iterator[Line]:
    yield heading("Traps", str(len(found)))
    for trap in found:
        for number, text in enumerate(wrap(trap.what, (width or sections.NO_WIDTH) - 4)):
            yield (("    " if number else "  ▲ ", "warning"), (text, ""))
        for text, role in ((trap.why, "dim"), (f"→ {trap.fix}" if trap.fix else "", "accent")):
            for part in wrap(text, (width or sections.NO_WIDTH) - 4) if text else ():
                yield (("    ", ""), (part, role))
    yield ()


def _settings(known: Dns, width: int | None) -> Iterator[Line]:
    yield heading("Resolver")
    yield from labelled("by", RESOLVERS.get(known.resolver, known.resolver), width, "strong")
    yield from labelled("because", "; ".join(known.reasons), width)
    yield from labelled("order", known.order.replace(" ", ", then "), width)
    yield from labelled("variables", "  ".join(f"{name}={value}" for name, value in known.variables.items()), width)
    yield from labelled("names given", ", ".join(known.names), width)
    yield ()


def _files(known: Dns, width: int | None) -> Iterator[Line]:
    yield heading("resolv.conf", known.resolv_conf)
    for number, server in enumerate(known.servers):
        role = "warning" if server.listening is False or server.ignored else ""
        yield from labelled("" if number else "name servers", _server(server), width, role)
    search = " ".join(known.search) + (f"  (of its {known.search_from})" if known.search_from == "host name" else "")
    yield from labelled("search", search if known.search else "", width)
    if known.search or known.ndots != 1:
        yield from labelled("ndots", f"{known.ndots}  names with fewer dots go through the search list first", width)
    patience = f"{known.timeout} s for an answer, {known.attempts} rounds through all name servers"
    yield from labelled("patience", patience, width)
    yield from labelled("options", " ".join(known.options), width)
    yield from labelled("unknown to Go", " ".join(known.unknown_options), width, "warning")
    yield ()
    yield heading("nsswitch.conf", known.nsswitch_conf)
    yield from labelled("hosts", known.nsswitch or ("" if known.nsswitch_conf else "not named"), width)
    yield ()
    count = f"{known.hosts_count} entries besides the machine's own" if known.hosts_count is not None else ""
    yield heading("hosts", known.hosts_file or count)
    for entry in known.hosts:
        yield from labelled(entry.address, " ".join(entry.names), width)


def _server(server: NameServer) -> str:
    notes = []
    if server.assumed:
        notes.append("assumed: resolv.conf names none")
    if server.ignored:
        notes.append("ignored: only three are asked")
    if server.listening is False:
        notes.append("nothing listens there, in its network namespace")
    return f"{server.address}  {'; '.join(notes)}".rstrip()


def _checks(checks: DnsChecks, width: int | None) -> Iterator[Line]:
    left_out = f", {checks.left_out} left out" if checks.left_out else ""
    yield heading("Asked", f"{checks.sent} questions at {units.clock(checks.at)}{left_out}")
    if checks.names:
        yield from sections.table(
            ("LOOK-UP OF", "TAKES", "QUESTIONS", "IN VAIN", "BY", "COMES TO"),
            [_looked_up(name) for name in checks.names],
            width,
            right=(1, 2, 3),
            role=lambda row, column: "critical" if column == 5 and checks.names[row].result != "ok" else "",
        )
        yield ()
    yield from sections.table(
        ("SERVER", "TYPE", "NAME", "TOOK", "ANSWER"),
        [_answer(row) for row in checks.rows],
        width,
        right=(3,),
        role=lambda row, column: _role(checks.rows[row]) if column == 4 else "",
    )
    yield ()


def _looked_up(name: NameChecked) -> tuple[str, ...]:
    result = ", ".join(name.addresses) if name.result == "ok" else name.result
    return name.name, _took(name.seconds), str(name.questions), str(name.in_vain), name.by, result


def _answer(row: Answer) -> tuple[str, ...]:
    more = " (tcp)" if row.transport == "tcp" else " (cut)" if row.truncated else ""
    return row.server, row.type, row.name, _took(row.seconds), row.result + more


def _took(seconds: float | None) -> str:
    return units.latency(seconds) if seconds is not None else units.UNKNOWN


def _role(row: Answer) -> str:
    if row.dead or row.rcode not in ("NOERROR", "NXDOMAIN"):
        return "critical"
    return "" if row.records else "dim"
