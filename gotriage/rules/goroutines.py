"""Goroutines that only ever get more, and senders that nobody receives from.

goroutine-leak
    The floor of a group's size (rules.trend) rises through a whole window by 20 or more, and none of its first
    goroutines leaves: a burst falls back, a pool that is filled stays, a busy server's goroutines come and go. A group
    is one stack and one creator, so that the other goroutines' coming and going does not hide it. Where connections
    grow as well, rising load explains both, and only five minutes and a quarter more are told, as for descriptors.
    The first 30 s of a process are left out: it starts what it needs. Goroutines that wait on channels that nothing
    else in the program refers to can never go on: 20 of them are told at once. That is the rule by which Go 1.26's
    goroutineleak profile finds leaks (runtime/mgc.go, findGoroutineLeaks).
channel-blocked
    20 senders on one channel, none of which has moved for 10 s. A consumer that is merely slow takes one now and then,
    and a producer that is served comes back later. Receivers are no sign: an idle pool of workers is made of them.
    100 senders for a minute are critical: work piles up and nothing is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.records.files import FileCounts
from gotriage.records.findings import Fine, Severity, Unknown
from gotriage.records.goroutines import GoroutineCounts, Goroutines
from gotriage.records.units import count, per_minute, seconds
from gotriage.rules import golook
from gotriage.rules.trend import Growth, growth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.findings import Finding
    from gotriage.records.goroutines import GoroutineGroup, WaitObject
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

LEAK: Final = "goroutine-leak"
BLOCKED: Final = "channel-blocked"
DEFAULTS: Final = {
    LEAK: {
        "seconds": 30.0,
        "rise": 20.0,
        "connection_seconds": 300.0,
        "connection_share": 0.25,
        "grace": 30.0,
        "unreachable": 20.0,
    },
    BLOCKED: {"senders": 20.0, "seconds": 10.0, "critical": 100.0, "critical_seconds": 60.0},
}
LONGER: Final = (1, 2, 4, 10, 20, 60)
"""Windows that are tried, as multiples of the shortest one: a slow leak shows in a long window only."""
BY_LOAD: Final = 0.5
"""Sockets for each new goroutine from which on rising load explains the growth: net/http has two a connection."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A group that grows."""

    group: GoroutineGroup
    growth: Growth


# -- goroutine-leak


def leaks(evidence: Evidence) -> Iterator[Claim]:
    """One finding for all groups that grow; the fastest names it."""
    if not golook.is_go(evidence):
        return
    table, counts = evidence.current(Goroutines), evidence.current(GoroutineCounts)
    if table is None or counts is None:
        yield evidence.unknown(LEAK, golook.GOROUTINES)
        return
    found = _leaks(evidence, table)
    lost = _unreachable(evidence, table)
    if found:
        yield _leak_finding(evidence, table, found, lost)
    elif lost:
        yield _lost_finding(evidence, table, lost)
    elif evidence.target is not None and evidence.target.state == "core":
        if any(thing.alone is not None for thing in table.objects):
            yield Fine(LEAK, "no group of goroutines was seen that nothing can ever wake")
    elif _watched(evidence) < evidence.limit(LEAK, "seconds"):
        reason = f"growth of goroutines shows after {seconds(evidence.limit(LEAK, 'seconds'))} of watching"
        yield Unknown(LEAK, reason, golook.WATCH_ON)
    else:
        yield Fine(LEAK, f"{count(counts.total - counts.system)} goroutines do not grow")


def _watched(evidence: Evidence) -> float:
    """Seconds that goroutines have been watched, without the process's first ones."""
    series = evidence.series(GoroutineCounts, 7200)
    if not series:
        return 0.0
    watched = (golook.last_look(evidence) - series[0].at).total_seconds()
    age, grace = evidence.age, evidence.limit(LEAK, "grace")
    return max(0.0, watched if age is None else min(watched, age - grace))


def _leaks(evidence: Evidence, table: Goroutines) -> list[Leak]:
    shortest, long = evidence.limit(LEAK, "seconds"), _watched(evidence)
    windows = [shortest * times for times in LONGER if shortest * times <= long]
    if not windows:
        return []
    series = evidence.series(GoroutineCounts, windows[-1] + shortest)
    found = [Leak(group, grown) for group in table.rows if (grown := _growth(evidence, series, group, windows))]
    return sorted(found, key=lambda leak: -leak.growth.rate)


def _growth(
    evidence: Evidence, series: Sequence[GoroutineCounts], group: GoroutineGroup, windows: list[float]
) -> Growth | None:
    least, end = evidence.limit(LEAK, "rise"), golook.last_look(evidence).timestamp()
    if group.system or group.state != "waiting" or group.count < least or group.key not in series[-1].groups:
        return None
    sizes = [(look.at.timestamp(), look.groups.get(group.key)) for look in series]
    points = [(at, float(size.count if size else 0)) for at, size in sizes]
    if group.count - min(value for _, value in points) < least:
        return None
    found = growth(points, end, windows, least)
    if found is not None and _by_load(evidence, found):
        patient = [window for window in windows if window >= evidence.limit(LEAK, "connection_seconds")]
        found = growth(points, end, patient, least)
        if found is not None and found.rise < evidence.limit(LEAK, "connection_share") * found.before:
            return None
    if found is None:
        return None
    settled = [size.settled for at, size in sizes if size and size.count >= 20 and at >= end - found.seconds]
    return None if settled and settled[-1] > settled[0] else found


def _by_load(evidence: Evidence, found: Growth) -> bool:
    """Whether sockets grow along with the goroutines: clients that come and stay."""
    files = evidence.series(FileCounts, found.seconds)
    if len(files) < 2:
        return False
    sockets = files[-1].by_type.get("socket", 0) - files[0].by_type.get("socket", 0)
    return sockets >= BY_LOAD * found.rise


def _unreachable(evidence: Evidence, table: Goroutines) -> list[tuple[GoroutineGroup, int]]:
    """Groups with goroutines on channels that nothing else refers to, and how many of them."""
    numbers: dict[str, int] = {}
    groups = {group.key: group for group in table.rows}
    for thing in table.objects:
        if thing.alone and thing.type == "channel" and (group := _first_group(table, thing)):
            numbers[group.key] = numbers.get(group.key, 0) + thing.waiters
    least = evidence.limit(LEAK, "unreachable")
    found = [(groups[key], number) for key, number in numbers.items() if number >= least]
    return sorted(found, key=lambda pair: -pair[1])


def _first_group(table: Goroutines, thing: WaitObject) -> GoroutineGroup | None:
    return next((group for goid in thing.ids if (group := golook.group_of(table, goid)) is not None), None)


_REMEDIES: Final = {
    "chan send": "its receiver has gone: a buffer of one, or a select with ctx.Done() around the send, lets it end",
    "chan receive": "nobody sends or closes any more: close the channel on every path, or select with ctx.Done()",
    "select": "none of its cases comes: cancel its context, and have a case of ctx.Done()",
    "IO wait": "set deadlines, and close what is read from (an http.Response.Body most often)",
}


def _remedy(group: GoroutineGroup) -> str:
    place = golook.where(group)
    reason = golook.doing(group)
    words = next((words for start, words in _REMEDIES.items() if reason.startswith(start)), "")
    if not words and (reason.startswith("sync.") or reason == "semacquire"):
        words = "what it waits for is never released: look at who holds it"
    return f"{place}: {words or 'give what it waits for an end'}"


def _leak_finding(
    evidence: Evidence, table: Goroutines, found: list[Leak], lost: list[tuple[GoroutineGroup, int]]
) -> Finding:
    first = found[0]
    group, grown = first.group, first.growth
    told = [
        golook.described(table, group),
        f"their floor rose from {count(grown.before)} to {count(grown.after)} in {seconds(grown.seconds)}, in every"
        " sixth of it; none of the first has left",
        golook.oldest(evidence, group),
        *(f"also {per_minute(leak.growth.rate)}: {golook.described(table, leak.group)}" for leak in found[1:3]),
        *_lost_words(lost),
    ]
    return evidence.finding(
        LEAK,
        "warning",
        f"goroutines grow by {per_minute(sum(leak.growth.rate for leak in found))}:"
        f" {count(group.count)} in {golook.doing(group)} at {golook.where(group)}",
        evidence=tuple(filter(None, told)),
        fix=_remedy(group),
        view="goroutines",
    )


def _lost_words(lost: list[tuple[GoroutineGroup, int]]) -> Iterator[str]:
    for group, number in lost[:2]:
        yield f"{count(number)} at {golook.where(group)} wait on channels that nothing else in the program refers to"


def _lost_finding(evidence: Evidence, table: Goroutines, lost: list[tuple[GoroutineGroup, int]]) -> Finding:
    group, number = lost[0]
    told = (golook.described(table, group), *_lost_words(lost), golook.oldest(evidence, group))
    return evidence.finding(
        LEAK,
        "warning",
        f"{count(number)} goroutines can never go on: {golook.doing(group)} at {golook.where(group)}",
        evidence=tuple(filter(None, told)),
        fix=_remedy(group),
        view="goroutines",
    )


# -- channel-blocked


def blocked_channels(evidence: Evidence) -> Iterator[Claim]:
    """One finding for the channel with the most senders that do not move."""
    if not golook.is_go(evidence):
        return
    table = evidence.current(Goroutines)
    if table is None:
        yield evidence.unknown(BLOCKED, golook.GOROUTINES)
        return
    many = [one for one in table.objects if one.type == "channel" and one.senders >= evidence.limit(BLOCKED, "senders")]
    many.sort(key=lambda one: -one.senders)
    for channel in many:
        if _stuck(evidence, table, channel):
            yield _blocked_finding(evidence, table, channel)
            return
    senders = [one.senders for one in table.objects if one.type == "channel" and one.senders]
    told = f"{count(sum(senders))} goroutines send, {count(max(senders))} at most to one channel" if senders else ""
    yield Fine(BLOCKED, told or "no goroutine waits to send")


def _stuck(evidence: Evidence, table: Goroutines, channel: WaitObject) -> bool:
    """No sender has moved for as long as the threshold says, and none of those that were there has left."""
    long = evidence.limit(BLOCKED, "seconds")
    if not golook.stuck(evidence, table, channel.ids, long) or _served(evidence, table, channel, long):
        return False
    end = golook.last_look(evidence)
    looks = [look for look in evidence.series(GoroutineCounts, 120) if (end - look.at).total_seconds() <= long]
    for group in golook.groups_on(table, channel):
        settled = [size.settled for look in looks if (size := look.groups.get(group.key)) and size.count >= 20]
        if settled and settled[-1] > settled[0]:
            return False
    return True


def _served(evidence: Evidence, table: Goroutines, channel: WaitObject, long: float) -> bool:
    """Whether more senders have come in that time than there are more of: the others were served, and came back."""
    mine = [one for one in table.goroutines if one.waiting_on == channel.address]
    if not mine:
        return False
    fresh = sum(golook.waited(evidence, one.since) < long for one in mine) * channel.senders / len(mine)
    tables = golook.held(evidence, long)
    before = [one.senders for earlier in tables for one in earlier.objects if one.address == channel.address]
    grown = max(0, channel.senders - before[0]) if before else channel.senders
    return fresh > grown + 1 or any(number > channel.senders for number in before)


def _blocked_finding(evidence: Evidence, table: Goroutines, channel: WaitObject) -> Finding:
    groups = golook.groups_on(table, channel)
    since = [group.since for group in groups if group.since is not None]
    longest = golook.waited(evidence, min(since, default=None))
    severe = channel.senders >= evidence.limit(BLOCKED, "critical")
    severe = severe and longest >= evidence.limit(BLOCKED, "critical_seconds")
    severity: Severity = "critical" if severe else "warning"
    place = golook.where(groups[0]) if groups else f"{channel.address:#x}"
    buffer = "unbuffered" if not channel.capacity else f"buffer {channel.buffered or 0} of {channel.capacity}"
    receivers = "nobody receives" if not channel.receivers else f"{count(channel.receivers)} receive"
    told = [
        f"the channel at {channel.address:#x}: {buffer}, {count(channel.senders)} send, {receivers}",
        *(golook.described(table, group) for group in groups[:3]),
        golook.oldest(evidence, min(groups, key=lambda group: group.since or evidence.moment)) if groups else "",
        "nothing else in the program refers to it: no receiver can ever come" if channel.alone else "",
    ]
    return evidence.finding(
        BLOCKED,
        severity,
        f"{count(channel.senders)} goroutines send to a channel that nobody receives from, at {place}",
        evidence=tuple(filter(None, told)),
        fix="find the receiver: it has returned, panicked or waits itself; "
        f"a select with ctx.Done() around the send at {place} lets the senders end",
        view="goroutines",
        since=min(since, default=None),
    )
