"""The Go runtime on a page: what it is set to against what it has, the collector, plots, and what fills the heap."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING

from gotriage.records.environment import Environment
from gotriage.records.goroutines import GoroutineCounts
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.runtime import NO_MEMORY_LIMIT, GoBuild, GoRuntime, RuntimeDetail
from gotriage.render import units
from gotriage.render.runtime import run_delays
from gotriage.render.text import wrap
from gotriage.ui import plot
from gotriage.ui.gauges import Gauge, field_of, gauges, memory_limit
from gotriage.ui.spans import PageLine, cut, cut_spans, fit, width_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records import Record
    from gotriage.records.base import Why
    from gotriage.session.store import Session
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

LABEL = 12
WIDE = 150
TALL = 40
FOLLOWS = (1, 25)
"""The first Go whose GOMAXPROCS follows the cgroup's CPU quota (runtime/cgroup_linux.go)."""
LEAST_PROCS = 2
"""... but not below two (runtime/proc.go, defaultGOMAXPROCS)."""
CLASSES = 10
THREADS = 400
GC_WINDOW = 300.0
"""Seconds over which the collector's cycles are counted."""


def _goal(session: Session) -> float | None:
    now = session.latest(GoRuntime)
    return now.heap_goal_bytes if now is not None else None


def _memory_limit(session: Session) -> float | None:
    now = session.latest(GoRuntime)
    limit = now.memory_limit_bytes if now is not None else None
    return None if limit is None or limit >= NO_MEMORY_LIMIT else limit


def _processors(session: Session) -> float | None:
    now = session.latest(GoRuntime)
    return now.gomaxprocs if now is not None else None


GAUGES: tuple[Gauge, ...] = (
    Gauge(
        "heap live", GoRuntime, "heap_live_bytes", units.size, field_of("heap_live_bytes"), _goal, tall=True, calm=True
    ),
    Gauge("heap used", GoRuntime, "heap_in_use_bytes", units.size, field_of("heap_in_use_bytes")),
    Gauge("Go memory", GoRuntime, "mapped_ready_bytes", units.size, field_of("mapped_ready_bytes"), _memory_limit),
    Gauge("RSS", ProcessSample, "rss_bytes", units.size, field_of("rss_bytes"), memory_limit, tall=True),
    Gauge("goroutines", GoroutineCounts, "total", units.count, field_of("total"), tall=True),
    Gauge("threads", GoRuntime, "threads", units.count, field_of("threads")),
    Gauge("runnable", GoRuntime, "runnable", units.count, field_of("runnable"), _processors, calm=True),
    Gauge("last pause", GoRuntime, "last_pause_seconds", units.seconds, field_of("last_pause_seconds")),
    Gauge("GC CPU", GoRuntime, "gc_cpu_fraction", units.share, field_of("gc_cpu_fraction")),
)
"""The limits: of heap live the collector's goal, of Go's memory GOMEMLIMIT, of RSS the cgroup's."""


def page(front: Front, width: int, height: int) -> list[PageLine]:
    """The whole page for so many cells and lines."""
    session = front.session
    lines = list(_head(session, width))
    now = session.latest(GoRuntime)
    if now is None:
        return lines
    lines += _procs(session, now, width)
    lines += _memory(session, now, width)
    lines += _collector(session, now, width)
    lines += _scheduler(session, now, width)
    lines.append(PageLine())
    whys: dict[str, Why] = {}
    lines += gauges(front, width, whys, tall=height >= TALL, of=GAUGES)
    lines.append(PageLine())
    detail = session.latest(RuntimeDetail)
    if detail is not None:
        lines += _tables(detail, width)
    return lines


def _line(label: str, spans: Sequence[Span], width: int, item: type[Record] | None) -> Iterator[PageLine]:
    """A label and spans; what does not fit is wrapped, spans stay whole."""
    space = width - LABEL
    line: list[Span] = []
    first = True
    for span in spans:
        if line and width_of(line) + len(span[0]) > space:
            yield PageLine(((fit(label if first else "", LABEL), "label"), *cut_spans(line, space)), item)
            line, first = [], False
            span = (span[0].lstrip(" ·,"), span[1])  # noqa: PLW2901  # a new line begins without the separator
        line.append(span)
    if line:
        yield PageLine(((fit(label if first else "", LABEL), "label"), *cut_spans(line, space)), item)


def _head(session: Session, width: int) -> Iterator[PageLine]:
    build = session.latest(GoBuild)
    if build is None:
        return
    words = [build.module or build.package, build.module_version]
    spans: list[Span] = [(build.go_version, "strong"), (f"  {' '.join(word for word in words if word)}", "")]
    flags = [name for name, on in (("cgo", build.cgo), ("stripped", build.stripped), ("pie", build.pie)) if on]
    flags += [name for name, on in (("race detector", build.race), ("FIPS 140", build.fips)) if on]
    spans += [(f"  {flag}", "dim") for flag in flags]
    if build.layout == "calibrated":
        spans.append(("  layout worked out from its memory", "warning"))
    elif build.layout == "near":
        spans.append(("  layout of a near version, checked", "dim"))
    if build.untested:
        spans.append(("  never tried on such a process", "warning"))
    yield from _line("Go", spans, width, GoBuild)
    if build.godebug:
        yield from _line("GODEBUG", ((build.godebug, ""),), width, GoBuild)


# -- what it is set to, against what it has


def minor(version: str) -> tuple[int, int] | None:
    """(1, 24) of "go1.24.3"."""
    found = re.match(r"go(\d{1,4})\.(\d{1,4})", version)
    return (int(found[1]), int(found[2])) if found else None


def procs_advice(
    procs: int, quota: float | None, version: tuple[int, int] | None, given: str | None, *, told: bool = False
) -> tuple[str, str, str]:
    """Role, verdict and advice on GOMAXPROCS against a CPU quota (cores).

    `given` is the environment variable, if it was set; `told`: GODEBUG says containermaxprocs=0.
    """
    if quota is None:
        return "dim", "no CPU quota", ""
    wanted = max(ceil(quota), LEAST_PROCS if version is not None and version >= FOLLOWS else 1)
    if procs <= wanted:
        return "good", f"fits the quota of {quota:.2f} cores", ""
    why = f"set by GOMAXPROCS={given}" if given else ""
    if not why and told:
        why = "GODEBUG containermaxprocs=0, which an older go line in go.mod implies, keeps it from following the quota"
    elif not why and version is not None and version >= FOLLOWS:
        why = "from Go 1.25 on it follows the quota, unless go.mod says an older go or GODEBUG containermaxprocs=0"
    elif not why:
        why = "Go before 1.25 does not look at the quota"
    return "warning", f"more than the quota of {quota:.2f} cores", f"{why}; GOMAXPROCS={ceil(quota)} would fit"


def _told(build: GoBuild | None) -> bool:
    """Told not to follow the quota: by GODEBUG, or by the default that the build gave it."""
    if build is None:
        return False
    said = f"{build.settings.get('DefaultGODEBUG', '')},{build.godebug or ''}"
    return "containermaxprocs=0" in said.split(",")


def _procs(session: Session, now: GoRuntime, width: int) -> Iterator[PageLine]:
    if now.gomaxprocs is None:
        return
    cgroup, build, given = session.latest(CgroupSample), session.latest(GoBuild), session.latest(Environment)
    quota = cgroup.cpu_quota if cgroup is not None else None
    version = minor(build.go_version) if build is not None else None
    variable = given.env.get("GOMAXPROCS") if given is not None else None
    role, verdict, advice = procs_advice(now.gomaxprocs, quota, version, variable, told=_told(build))
    if cgroup is None:
        verdict = "CPU quota not known"
    sign = {"warning": "▲ ", "good": "✓ "}.get(role, "")
    spans: list[Span] = [(f"{now.gomaxprocs}", "strong")]
    if now.ncpu:
        spans.append((f" of {now.ncpu} CPUs it may use", "dim"))
    spans.append((f"   {sign}{verdict}", role))
    if role == "warning" and cgroup is not None and cgroup.throttled_share:
        spans.append((f", throttled in {units.share(cgroup.throttled_share)} of the periods", "warning"))
    yield from _line("GOMAXPROCS", spans, width, GoRuntime)
    for text in wrap(advice, width - LABEL) if advice else ():
        yield PageLine(((" " * LABEL, ""), (text, "dim")), GoRuntime)


def _memory(session: Session, now: GoRuntime, width: int) -> Iterator[PageLine]:
    gogc = units.UNKNOWN if now.gc_percent is None else "off" if now.gc_percent < 0 else f"{now.gc_percent}"
    spans: list[Span] = [(gogc, "strong"), ("   GOMEMLIMIT ", "label")]
    limit = now.memory_limit_bytes
    free = limit is None or limit >= NO_MEMORY_LIMIT
    spans.append((units.UNKNOWN if limit is None else "none" if free else units.size(limit), "strong"))
    cgroup = memory_limit(session)
    if cgroup is not None:
        spans.append((f"   cgroup limit {units.size(cgroup)}", "dim"))
        if limit is not None and not free and limit > cgroup:
            spans.append(("   ▲ GOMEMLIMIT is above it: the kernel kills before the collector saves", "warning"))
        elif free:
            spans.append(("   · without GOMEMLIMIT the collector does not know of it", "dim"))
    if now.gc_percent is not None and now.gc_percent < 0 and free:
        spans.append(("   ▲ nothing ever starts the collector", "warning"))
    yield from _line("GOGC", spans, width, GoRuntime)


def _collector(session: Session, now: GoRuntime, width: int) -> Iterator[PageLine]:
    spans: list[Span] = [(f"{units.count(now.gc_cycles)} cycles", "strong")]
    rate = cycles_per_minute(session)
    if rate is not None:
        spans.append((f" · {rate:.1f}/min", ""))
    if now.gc_forced:
        spans.append((f" · {now.gc_forced:,} by runtime.GC", "dim"))
    moment = session.moment
    if now.last_gc_at is not None and moment is not None:
        ago = max((moment - now.last_gc_at).total_seconds(), 0.0)
        spans.append((f" · last {units.seconds(round(ago, 1))} ago", ""))
    detail = session.latest(RuntimeDetail)
    if now.last_pause_seconds is not None:
        spans.append((f" · paused {units.seconds(now.last_pause_seconds)}", ""))
    if detail is not None and detail.pauses:
        longest = max(pause.seconds for pause in detail.pauses)
        spans.append((f" · longest of {len(detail.pauses)}: {units.seconds(longest)}", ""))
    if now.gc_pause_total_seconds is not None:
        spans.append((f" · {units.seconds(now.gc_pause_total_seconds)} in all", "dim"))
    if now.gc_cpu_fraction is not None:
        spans.append((f" · {units.share(now.gc_cpu_fraction)} of the CPU", ""))
    if now.gc_running:
        spans.append((" · runs now", "accent"))
    yield from _line("collector", spans, width, RuntimeDetail)


def cycles_per_minute(session: Session) -> float | None:
    """Collections a minute over the last minutes."""
    looks = [look for look in session.series(GoRuntime, GC_WINDOW) if look.gc_cycles is not None]
    if len(looks) < 2:
        return None
    seconds = (looks[-1].at - looks[0].at).total_seconds()
    grown = (looks[-1].gc_cycles or 0) - (looks[0].gc_cycles or 0)
    return grown * 60 / seconds if seconds > 0 and grown >= 0 else None


def _scheduler(session: Session, now: GoRuntime, width: int) -> Iterator[PageLine]:
    detail = session.latest(RuntimeDetail)
    spans: list[Span] = []
    if detail is not None and detail.processors:
        states: dict[str, int] = {}
        for one in detail.processors:
            states[one.status] = states.get(one.status, 0) + 1
        words = ", ".join(f"{count} {state}" for state, count in sorted(states.items(), key=lambda item: -item[1]))
        spans.append((f"Ps: {words}", ""))
    idle = f", {now.idle_threads} idle" if now.idle_threads is not None else ""
    spinning = f", {now.spinning_threads} spinning" if now.spinning_threads else ""
    spans.append((f" · Ms: {units.count(now.threads)} threads{idle}{spinning}", ""))
    if now.runnable is not None:
        waiting = f" ({now.queue} in the global queue)" if now.queue else ""
        role = "warning" if now.gomaxprocs and now.runnable > 4 * now.gomaxprocs else ""
        spans.append((f" · {now.runnable:,} runnable{waiting}", role))
    if now.timers is not None:
        spans.append((f" · {now.timers:,} timers", "dim"))
    spans[0] = (spans[0][0].lstrip(" ·,"), spans[0][1])
    yield from _line("scheduler", spans, width, RuntimeDetail)
    if detail is not None and detail.run_delays:
        yield from _line("run delays", ((run_delays(detail), ""),), width, RuntimeDetail)


# -- tables


def _tables(detail: RuntimeDetail, width: int) -> list[PageLine]:
    if width < WIDE:
        return [*_classes(detail, width), PageLine(), *_ps(detail, width), PageLine(), *_threads(detail, width)]
    half = (width - 3) // 2
    left = [*_classes(detail, half), PageLine(), *_ps(detail, half)]
    right = list(_threads(detail, half))
    lines = []
    for number in range(max(len(left), len(right))):
        first = left[number] if number < len(left) else PageLine()
        second = right[number] if number < len(right) else PageLine()
        spans = cut_spans(first.spans, half)
        lines.append(PageLine((*spans, (" " * (half - width_of(spans) + 3), ""), *second.spans)))
    return lines


def _classes(detail: RuntimeDetail, width: int) -> Iterator[PageLine]:
    """What fills the heap, by size of object."""
    sizes: dict[int, list[int]] = {}
    for one in detail.size_classes:
        found = sizes.setdefault(one.size, [0, 0, 0])
        for place, value in enumerate((one.objects, one.bytes, one.bytes if one.noscan else 0)):
            found[place] += value
    if not sizes:
        return
    total = sum(found[1] for found in sizes.values()) or 1
    yield PageLine(
        (
            (f"{'objects of':>12} {'count':>12} {'memory':>8} {'share':>7}  ", "heading"),
            ("what fills the heap", "heading"),
        )
    )
    order = sorted(sizes.items(), key=lambda item: -item[1][1])
    bar = max(min(width - 84, 30), 6)
    for size, (objects, taken, noscan) in order[:CLASSES]:
        heavy, thin = plot.bar(taken / total, bar)
        name = "over 32K" if size == 0 else units.size(size)
        free = max(1 - objects * size / taken, 0.0) if size and taken else 0.0
        said = f"  {units.share(noscan / taken)} without pointers" if taken else ""
        said += f", {units.share(free)} free" if free >= 0.3 else ""
        spans: list[Span] = [
            (f"{name:>12} {objects:>12,} {units.size(taken):>8} {units.share(taken / total):>7}  ", "")
        ]
        yield PageLine(cut_spans([*spans, (heavy, "accent"), (thin, "faint"), (said, "dim")], width))
    rest = sum(found[1] for _, found in order[CLASSES:])
    if rest:
        text = f"{f'{len(order) - CLASSES} others':>12} {'':>12} {units.size(rest):>8} {units.share(rest / total):>7}"
        yield PageLine(((text, "dim"),))


def _ps(detail: RuntimeDetail, width: int) -> Iterator[PageLine]:
    """Processors, as many on a line as fit; the queue of each."""
    if not detail.processors:
        return
    yield PageLine((("processors (Ps): state, length of the run queue", "heading"),))
    each = 16
    many = max(width // each, 1)
    shown = detail.processors[: many * 16]
    for start in range(0, len(shown), many):
        spans: list[Span] = []
        for one in shown[start : start + many]:
            role = "good" if one.status == "running" else ("warning" if one.queue > 16 else "dim")
            spans.append((fit(f"{one.id:>3} {one.status} {one.queue or ''}", each), role))
        yield PageLine(cut_spans(spans, width))
    if len(detail.processors) > len(shown):
        yield PageLine(((f"and {len(detail.processors) - len(shown)} more", "dim"),))


def _threads(detail: RuntimeDetail, width: int) -> Iterator[PageLine]:
    """Threads of the runtime with what the kernel says of each."""
    if not detail.rows:
        return
    yield PageLine(
        ((f"{'M':>4} {'THREAD':>8}  {'P':>3}  {'GOROUTINE':>10}  {'CPU':>7}  S  ", "heading"), ("WAITS IN", "heading"))
    )
    order = sorted(detail.rows, key=lambda row: -(row.cpu_seconds or 0.0))
    for row in order[:THREADS]:
        runs = row.goroutine if row.goroutine is not None else row.locked
        doing = row.wchan or ("spinning" if row.spinning else "")
        locked = "  locked to it" if row.locked is not None else ""
        text = f"{row.id:>4} {row.tid:>8}  {_dash(row.processor):>3}  {_dash(runs):>10}  "
        text += f"{units.seconds(row.cpu_seconds):>7}  {row.state or ' '}  {doing}{locked}"
        yield PageLine(((cut(text, width), "" if row.processor is not None else "dim"),))
    left = len(detail.rows) - len(order[:THREADS]) + detail.omitted
    if left:
        yield PageLine(((f"and {left:,} more", "dim"),))


def _dash(value: int | None) -> str:
    return units.UNKNOWN if value is None else str(value)
