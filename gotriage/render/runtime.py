"""The Go runtime's numbers as one object and as text; and the sentence for a target that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gotriage.records.environment import Environment
from gotriage.records.goroutines import GoroutineCounts
from gotriage.records.runtime import NO_MEMORY_LIMIT, GoBuild, GoRuntime, RuntimeDetail, quantile
from gotriage.records.stream import Heartbeat
from gotriage.records.target import TargetState
from gotriage.render import units
from gotriage.render.jsonl import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.session.store import Session

FIRST = (
    "go_version",
    "gomaxprocs",
    "threads",
    "goroutines",
    "heap_live_bytes",
    "heap_goal_bytes",
    "gc_percent",
    "memory_limit_bytes",
    "gc_cycles",
    "last_gc_at",
    "gc_pause_total_seconds",
    "module",
    "dependencies",
    "settings",
    "cgo",
    "stripped",
    "pie",
    "race",
)
"""Keys that the object always begins with, in the contract's order."""
CLASSES = 8
FLAGS = (
    ("cgo", "cgo", "no cgo"),
    ("stripped", "stripped", "not stripped"),
    ("pie", "PIE", "no PIE"),
    ("race", "race detector", ""),
    ("fips", "FIPS 140-3", ""),
)
"""What a build is and is not, in words; nothing is said of what is not known."""


def not_go(session: Session) -> str:
    """Why there is no Go to look at, as a clause; "" when there may be some."""
    target, given, beat = session.latest(TargetState), session.latest(Environment), session.latest(Heartbeat)
    if any(gap.source.partition(".")[0] in ("goroutines", "runtime") for gap in session.gaps()):
        return ""
    states = (
        [beat.collectors[name].state for name in ("goroutines", "runtime") if name in beat.collectors] if beat else []
    )
    if states and "off" not in states:
        return ""
    if given is not None and given.is_go is False:
        return f"{given.exe.rpartition('/')[2] or 'the target'} is not a Go program"
    if states and target is not None and target.state == "running" and target.go is None and "go" not in target.unknown:
        return f"{target.comm or target.name} is not a Go program"
    return ""


def runtime_object(session: Session) -> dict[str, Any] | None:
    """Everything that is known of the runtime at the cursor, in one object; None when nothing is."""
    now, build, detail = session.latest(GoRuntime), session.latest(GoBuild), session.latest(RuntimeDetail)
    if now is None and build is None:
        return None
    fields: dict[str, Any] = dict.fromkeys(FIRST)
    for record, renamed in ((detail, {"rows": "thread_list"}), (build, {}), (now, {})):
        if record is not None:
            fields |= {renamed.get(key, key): value for key, value in _plain(record).items()}
    counts = session.latest(GoroutineCounts)
    if fields["goroutines"] is None and counts is not None:
        fields["goroutines"] = counts.total - counts.system
    fields.pop("omitted", None)
    return fields


def _plain(record: GoRuntime | GoBuild | RuntimeDetail) -> dict[str, Any]:
    found = plain(record)
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if key not in ("kind", "unknown")}


def lines(session: Session) -> Iterator[str]:
    """The same for people."""
    now, build, detail = session.latest(GoRuntime), session.latest(GoBuild), session.latest(RuntimeDetail)
    if build is not None:
        yield _line("Go", f"{build.go_version}  {build.module or build.package} {build.module_version}".rstrip())
        words = [yes if getattr(build, name) else no for name, yes, no in FLAGS if getattr(build, name) is not None]
        yield _line("build", ", ".join(word for word in words if word))
        if build.layout:
            yield _line(
                "layout", f"{build.layout}, found by {build.located}" + (", untested" if build.untested else "")
            )
        if build.godebug:
            yield _line("GODEBUG", build.godebug)
    if now is not None:
        yield from _numbers(now, session)
    if detail is not None and detail.run_delays:
        yield _line("run delays", run_delays(detail))
    if detail is not None and detail.size_classes:
        yield ""
        yield from _classes(detail)


def run_delays(detail: RuntimeDetail) -> str:
    """How long goroutines waited for a processor, in words."""
    middle, tail = (quantile(detail.run_delays, share) for share in (0.5, 0.99))
    most = detail.run_delays[-1].seconds
    return f"p50 {units.seconds(middle)}, p99 {units.seconds(tail)}, at most {units.seconds(most)}, since the start"


def _numbers(now: GoRuntime, session: Session) -> Iterator[str]:
    counts = session.latest(GoroutineCounts)
    goroutines = now.goroutines if now.goroutines is not None else (counts.total - counts.system if counts else None)
    yield _line("GOMAXPROCS", f"{units.count(now.gomaxprocs)} of {units.count(now.ncpu)} CPUs it may use")
    gogc = "off" if now.gc_percent is not None and now.gc_percent < 0 else units.count(now.gc_percent)
    yield _line("GOGC", gogc)
    limit = now.memory_limit_bytes
    yield _line("GOMEMLIMIT", "none" if limit is not None and limit >= NO_MEMORY_LIMIT else units.size(limit))
    yield _line("heap", f"{units.size(now.heap_live_bytes)} live, goal {units.size(now.heap_goal_bytes)}")
    yield _line("", f"{units.size(now.heap_in_use_bytes)} in use, {units.size(now.heap_free_bytes)} free")
    yield _line("stacks", units.size(now.stacks_in_use_bytes))
    yield _line("collector", f"{units.count(now.gc_cycles)} cycles, last {units.timestamp(now.last_gc_at)}")
    pauses = f"last {units.seconds(now.last_pause_seconds)}, {units.seconds(now.gc_pause_total_seconds)} in all"
    yield _line("pauses", pauses)
    yield _line("GC CPU", units.share(now.gc_cpu_fraction))
    yield _line("goroutines", f"{units.count(goroutines)}, {units.count(now.runnable)} runnable")
    yield _line("threads", f"{units.count(now.threads)}, {units.count(now.idle_threads)} idle")
    yield _line("timers", units.count(now.timers))


def _classes(detail: RuntimeDetail) -> Iterator[str]:
    yield f"{'objects of':>10}  {'count':>12}  {'memory':>8}  pointers"
    for one in sorted(detail.size_classes, key=lambda one: -one.bytes)[:CLASSES]:
        size = units.size(one.size) if one.size else "over 32K"
        yield f"{size:>10}  {one.objects:>12,}  {units.size(one.bytes):>8}  {'no' if one.noscan else 'yes'}"


def _line(name: str, value: str) -> str:
    return f"{name:<12}{value}"
