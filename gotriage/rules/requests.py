"""Requests that are answered slowly, or with errors.

slow-requests
    Nobody has told us how fast the service ought to be, so only what no user takes for quick is told: a twentieth of a
    route's answers, three at least, took a second or more. A route where most take ten seconds or more waits by design
    (a long poll). And requests that hang: in flight for ten seconds on a route that answers within one.
error-responses
    5xx, handlers that panicked, and gRPC's like. 4xx are the client's doing, and so are connections that the client
    ends before the answer. A twentieth of all is more than any retry budget; half of all is a service that fails. One
    route that fails altogether is told however many others work. Of what the target asks others, a fifth that fails.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.findings import Fine, Severity, Unknown
from gotriage.records.goroutines import Goroutines
from gotriage.records.http import FAILED, GRPC_ERRORS, NO_ANSWER, PANIC, quantile, slot_start
from gotriage.records.tracing import Traces
from gotriage.records.units import count, counted, seconds, share
from gotriage.rules import golook, tracelook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gotriage.records.findings import Finding
    from gotriage.records.http import Http, HttpCall, HttpRoute
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

SLOW: Final = "slow-requests"
ERRORS: Final = "error-responses"
DEFAULTS: Final = {
    SLOW: {"slow": 1.0, "share": 0.05, "calls": 3.0, "by_design": 10.0, "hangs": 10.0, "seconds": 60.0},
    ERRORS: {
        "share": 0.05, "critical": 0.5, "route_share": 0.5, "peer_share": 0.2, "errors": 5.0, "many": 20.0,
        "seconds": 60.0,
    },
}  # fmt: skip
MOST: Final = 3
"""Routes and peers that are told of."""
SPAN: Final = 3.0
"""How many times as long as a slow request a look has to be to tell that there are none."""
LONGEST: Final = 120
"""Characters of a route."""


class Seen(NamedTuple):
    """A route in the window: how many calls by status, and how long they took, on the scale of `HttpRoute.slots`."""

    route: HttpRoute
    statuses: Counter[str]
    slots: tuple[int, ...]

    @property
    def number(self) -> int:
        """Calls that ended."""
        return self.statuses.total()

    @property
    def name(self) -> str:
        """Method and route, of what the target asks with whom."""
        words = f"{self.route.method} {self.route.route}".strip()
        words = words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
        return f"{words} of {self.route.peer}" if self.route.direction == "out" and self.route.peer else words

    def slow(self, least: float) -> int:
        """How many took so long."""
        return sum(number for slot, number in enumerate(self.slots) if slot_start(slot) >= least)


def _seen(evidence: Evidence, long: float) -> tuple[list[Seen], list[HttpCall], float] | None:
    """All routes of the window, what is in flight, and seconds attached; None when nothing was looked at."""
    pairs = tracelook.http(evidence, long)
    if not pairs:
        return None
    routes = [one for now, before in pairs for one in _routes(now, before)]
    flying = [call for now, _ in pairs for call in now.in_flight]
    return routes, flying, max(now.attached - (before.attached if before else 0.0) for now, before in pairs)


def _routes(now: Http, before: Http | None) -> Iterator[Seen]:
    known = {row.key: row for row in before.rows} if before is not None else {}
    for row in now.rows:
        old = known.get(row.key)
        statuses, slots = Counter(row.statuses), row.slots
        if old is not None and old.count <= row.count:
            statuses.subtract(old.statuses)
            was = old.slots + (0,) * (len(slots) - len(old.slots))
            slots = tuple(max(one - other, 0) for one, other in zip(slots, was, strict=False))
        yield Seen(row, +statuses, slots)


# -- slow-requests


def slow(evidence: Evidence) -> Iterator[Claim]:
    """A finding for what the target is asked, and where that is well, one for what it asks."""
    if not evidence.running:
        return
    seen = _seen(evidence, evidence.limit(SLOW, "seconds"))
    if seen is None:
        yield tracelook.unseen(evidence, SLOW, tracelook.HTTP)
        return
    routes, flying, attached = seen
    ill = sorted((one for one in routes if _is_slow(evidence, one)), key=lambda one: -one.slow(_least(evidence)))
    inward = [one for one in ill if one.route.direction == "in"]
    outward = [one for one in ill if one.route.direction == "out"]
    hanging = [call for call in flying if call.direction == "in" and _hangs(evidence, call, routes)]
    if inward or outward:
        yield _slow_finding(evidence, inward or outward, outward if inward else [], hanging)
    elif hanging:
        yield _hanging_finding(evidence, hanging)
    elif (look := _look(evidence)) < SPAN * _least(evidence):
        reason = f"looked at for {seconds(look)} at a time only: requests that take longer are not seen to end"
        yield Unknown(SLOW, reason, "press H, or: gotriage show http --for 30s")
    else:
        yield Fine(SLOW, _well(routes, attached))


def _least(evidence: Evidence) -> float:
    return evidence.limit(SLOW, "slow")


def _look(evidence: Evidence) -> float:
    """Seconds that requests are looked at without a break."""
    traces = evidence.latest(Traces)
    rows = [row for row in traces.rows if row.source.startswith(tracelook.HTTP)] if traces is not None else []
    seen = [row for row in rows if row.active or row.state == "ended"]
    if not seen or any(row.on_share >= 1.0 for row in seen):
        return math.inf
    return max(row.on_share * row.round_seconds for row in seen)


def _is_slow(evidence: Evidence, one: Seen) -> bool:
    number, total = one.slow(_least(evidence)), sum(one.slots)
    if number < evidence.limit(SLOW, "calls") or number < evidence.limit(SLOW, "share") * total:
        return False
    return one.slow(evidence.limit(SLOW, "by_design")) * 2 <= total


def _hangs(evidence: Evidence, call: HttpCall, routes: Iterable[Seen]) -> bool:
    """Whether it has been there for long on a route that is known to answer soon."""
    if (call.seconds or 0.0) < evidence.limit(SLOW, "hangs"):
        return False
    same = [one for one in routes if one.route.direction == call.direction and one.route.route == call.route]
    slots = tuple(map(sum, zip(*(one.slots + (0,) * (200 - len(one.slots)) for one in same), strict=True)))
    return sum(slots) >= evidence.limit(SLOW, "calls") and (quantile(slots, 0.9) or 0.0) < _least(evidence)


def _slow_finding(evidence: Evidence, ill: Sequence[Seen], others: Sequence[Seen], hanging: list[HttpCall]) -> Finding:
    first = ill[0]
    p99 = quantile(first.slots, 0.99)
    told = [_how_slow(evidence, one) for one in ill[:MOST]]
    told += [f"meanwhile it waits for others: {_how_slow(evidence, one)}" for one in others[:MOST]]
    told += list(_in_flight(evidence, hanging))
    more = f", and {counted(len(ill) - 1, 'more route')}" if len(ill) > 1 else ""
    outward = first.route.direction == "out"
    return evidence.finding(
        SLOW,
        "warning",
        f"{first.name} takes up to {seconds(first.route.longest or p99)} (p99 {seconds(p99)}){more}",
        evidence=tuple(told),
        fix="look at that service, or ask with a deadline (context.WithTimeout)"
        if outward
        else "open the route (H, Enter) and a slow request: the goroutine that serves it says what it waits for",
        view="http",
        subject=first.route.peer if outward else evidence.name,
    )


def _how_slow(evidence: Evidence, one: Seen) -> str:
    number, total = one.slow(_least(evidence)), sum(one.slots)
    return (
        f"{one.name}: {count(number)} of {count(total)} took {seconds(_least(evidence))} or more,"
        f" half of all {seconds(quantile(one.slots, 0.5))} or more"
    )


def _in_flight(evidence: Evidence, calls: list[HttpCall]) -> Iterator[str]:
    table = evidence.current(Goroutines)
    for call in sorted(calls, key=lambda call: -(call.seconds or 0.0))[:MOST]:
        text = f"{call.method} {call.path[:LONGEST]} is in flight for {seconds(call.seconds)}"
        if call.goroutine is not None:
            text += f", served by goroutine {call.goroutine}"
            group = golook.group_of(table, call.goroutine) if table is not None else None
            text += f", {golook.doing(group)} at {golook.where(group)}" if group is not None else ""
        yield text


def _hanging_finding(evidence: Evidence, hanging: list[HttpCall]) -> Finding:
    oldest = max(hanging, key=lambda call: call.seconds or 0.0)
    return evidence.finding(
        SLOW,
        "warning",
        f"{counted(len(hanging), 'request')} without an answer, the oldest for {seconds(oldest.seconds)}:"
        f" {oldest.method} {oldest.route[:LONGEST]}",
        evidence=tuple(_in_flight(evidence, hanging)),
        fix="open it (H): the goroutine that serves it says what it waits for",
        view="http",
        since=oldest.began,
    )


def _well(routes: Sequence[Seen], attached: float) -> str:
    inward = [one for one in routes if one.route.direction == "in" and one.number]
    total = sum(one.number for one in inward)
    if not total:
        return f"no requests seen in {seconds(attached)} of looking"
    slots = tuple(map(sum, zip(*(one.slots + (0,) * (200 - len(one.slots)) for one in inward), strict=True)))
    return f"{counted(total, 'request')}, p99 {seconds(quantile(slots, 0.99))}"


# -- error-responses


def errors(evidence: Evidence) -> Iterator[Claim]:
    """One finding for what the target answers, one a peer for what it is answered."""
    if not evidence.running:
        return
    seen = _seen(evidence, evidence.limit(ERRORS, "seconds"))
    if seen is None:
        yield tracelook.unseen(evidence, ERRORS, tracelook.HTTP)
        return
    routes, _, attached = seen
    inward = [one for one in routes if one.route.direction == "in"]
    found = [*_answered(evidence, inward, attached), *_answers(evidence, routes, attached)]
    yield from found
    if not found:
        total = sum(one.number for one in inward)
        failed = sum(_failed(one).total() for one in inward)
        told = f"{count(failed)} of {counted(total, 'answer')} 5xx" if total else "no answers seen"
        yield Fine(ERRORS, f"{told} in {seconds(attached)} of looking")


def _failed(one: Seen) -> Counter[str]:
    """Answers that are the fault of who gave them. A client that leaves early is not: "no answer" is left out."""
    inward = one.route.direction == "in"
    return Counter(
        {
            status: number
            for status, number in one.statuses.items()
            if (len(status) == 3 and status.isdigit() and status[0] == "5")
            or status == PANIC
            or status in GRPC_ERRORS
            or (not inward and status in (NO_ANSWER, FAILED))
        }
    )


def _answered(evidence: Evidence, routes: list[Seen], attached: float) -> Iterator[Claim]:
    total = sum(one.number for one in routes)
    by_route = sorted(((one, _failed(one)) for one in routes), key=lambda pair: -pair[1].total())
    failed = sum(bad.total() for _, bad in by_route)
    worst, bad = by_route[0] if by_route else (None, Counter[str]())
    enough = evidence.limit(ERRORS, "errors")
    much = failed >= enough and failed >= evidence.limit(ERRORS, "share") * total
    alone = (
        worst is not None
        and bad.total() >= enough
        and bad.total() >= evidence.limit(ERRORS, "route_share") * worst.number
    )
    if worst is None or not (much or alone):
        return
    severity: Severity = "warning"
    if failed >= evidence.limit(ERRORS, "critical") * total and total >= evidence.limit(ERRORS, "many"):
        severity = "critical"
    status = sum((bad for _, bad in by_route), Counter[str]()).most_common(1)[0][0]
    if much:
        title = f"{share(failed / total)} of answers are errors: {count(failed)} of {count(total)}, mostly {status}"
    else:
        title = f"{worst.name} fails: {count(bad.total())} of {count(worst.number)} answers, mostly {status}"
    told = [f"{one.name}: {_by_status(bad)} of {counted(one.number, 'answer')}" for one, bad in by_route[:5] if bad]
    yield evidence.finding(
        ERRORS,
        severity,
        title,
        evidence=(*told, f"seen in {seconds(attached)} of looking"),
        fix="read its log of that moment (3); then the route (H, Enter): what it asks others and what they answer",
        view="http",
    )


def _answers(evidence: Evidence, routes: list[Seen], attached: float) -> Iterator[Claim]:
    """Peers that answer what the target asks with errors."""
    peers: dict[str, list[Seen]] = {}
    for one in routes:
        if one.route.direction == "out" and one.route.call in ("http", "grpc"):
            peers.setdefault(one.route.peer, []).append(one)
    told = 0
    for peer, asked in sorted(peers.items()):
        total, bad = sum(one.number for one in asked), sum((_failed(one) for one in asked), Counter[str]())
        failed = bad.total()
        if failed < evidence.limit(ERRORS, "errors") or failed < evidence.limit(ERRORS, "peer_share") * total:
            continue
        told += 1
        if told > MOST:
            return
        mostly = bad.most_common(1)[0][0]
        yield evidence.finding(
            ERRORS,
            "warning",
            f"{peer or 'a peer'} answers with errors: {count(failed)} of {count(total)}, mostly {mostly}",
            evidence=(
                *(
                    f"{one.name}: {_by_status(_failed(one))} of {count(one.number)}"
                    for one in asked[:5]
                    if _failed(one)
                ),
                f"seen in {seconds(attached)} of looking",
            ),
            fix="look at that service; what the target itself answers meanwhile stands in the HTTP view (H)",
            view="http",
            subject=peer,
        )


def _by_status(bad: Counter[str]) -> str:
    return ", ".join(f"{count(number)} × {status}" for status, number in bad.most_common(3))
