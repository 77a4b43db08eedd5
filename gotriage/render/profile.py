"""A profile as text: what was sampled, the heaviest calls as a tree, what differs from another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gotriage.records.profile import CpuProfile, WallProfile
from gotriage.render import flame, units
from gotriage.render.columns import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.profile import Profile
    from gotriage.render.flame import Node

THREADS: Final = (
    Column("tid", "THREAD", "text", 8),
    Column("name", "NAME"),
    Column("running", "RAN", "seconds", 7),
    Column("waiting", "WAITED", "seconds", 7),
    Column("slices", "TIMES", "count", 8),
)
CHANGES: Final = (
    Column("change", "CHANGE", "share", 7),
    Column("flat_share", "FLAT", "share", 7),
    Column("flat_before", "BEFORE", "share", 7),
    Column("cum_share", "CUM", "share", 7),
    Column("cum_before", "BEFORE", "share", 7),
    Column("frame_kind", "CODE", "text", 7),
    Column("function", "FUNCTION"),
)
LEAST: Final = 0.03
"""Part of all samples that a line of the tree stands for at least."""
MOST_LINES: Final = 40


# -- in words


def summary(profile: Profile) -> str:
    """What was sampled, in one line."""
    took = units.seconds(round(profile.seconds, 1))
    said = [f"{profile.samples:,} samples in {took}"]
    if isinstance(profile, CpuProfile):
        if profile.cores is not None:
            said.append(f"{units.cores(profile.cores)} CPUs")
    elif isinstance(profile, WallProfile) and profile.looks:
        said = [f"{profile.looks} looks in {took}"]
        said.append(
            f"{units.count(profile.goroutines)} goroutines, {units.seconds(profile.took / profile.looks)} a look"
        )
    if profile.named_share is not None:
        said.append(f"names {percent(profile.named_share)}")
    if isinstance(profile, CpuProfile) and profile.attributed is not None and profile.samples:
        said.append(f"goroutines {units.share(profile.attributed / profile.samples)}")
    return " · ".join(said)


def percent(share: float) -> str:
    """As `units.share`, but only the whole is 100 %."""
    return f"{share:.2%}".replace("%", " %") if 0.99 < share < 1 else units.share(share)


def waits(profile: CpuProfile) -> str:
    """How long threads were kept from CPUs, in one line, "" where that is not known."""
    said = []
    if profile.running is not None and profile.waiting is not None:
        said.append(f"threads ran {units.seconds(profile.running)}, waited {units.seconds(profile.waiting)} for a CPU")
    if profile.throttled_seconds is not None and profile.periods:
        said.append(
            f"throttled {units.seconds(profile.throttled_seconds)}, in {profile.throttled_periods} of"
            f" {profile.periods} periods"
        )
    return " · ".join(said)


def calls(root: Node, least: float = LEAST, most: int = MOST_LINES) -> Iterator[str]:
    """The heaviest calls as an indented tree; runs of only callees stand on one line each, one deeper."""
    lines = 0
    waiting: list[tuple[Node, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if lines >= most:
            yield "  …"
            return
        yield f"{units.share(flame.share(node, root)):>6}  {'  ' * depth}{node.name}"
        lines += 1
        heavy = [child for child in node.sorted if flame.share(child, root) >= least]
        waiting += [(child, depth + 1) for child in reversed(heavy)]


# -- two profiles


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A function in two profiles: its parts of all samples, 0..1; `change`: of its own samples, later less earlier."""

    function: str
    frame_kind: str = ""
    change: float = 0.0
    flat_share: float = 0.0
    flat_before: float = 0.0
    cum_share: float = 0.0
    cum_before: float = 0.0


def changes(now: Profile, before: Profile) -> list[Change]:
    """Functions whose parts differ, by how much their own one does; those that only one of them has too."""
    rows = {(row.function, row.frame_kind): row for row in now.rows}
    old = {(row.function, row.frame_kind): row for row in before.rows}
    found = []
    for name in {**rows, **old}:
        new, was = rows.get(name), old.get(name)
        flat, cum = (new.flat_share, new.cum_share) if new is not None else (0.0, 0.0)
        flat_was, cum_was = (was.flat_share, was.cum_share) if was is not None else (0.0, 0.0)
        if flat == flat_was and cum == cum_was:
            continue
        found.append(
            Change(
                function=name[0],
                frame_kind=name[1],
                change=round(flat - flat_was, 4),
                flat_share=flat,
                flat_before=flat_was,
                cum_share=cum,
                cum_before=cum_was,
            )
        )
    return sorted(found, key=lambda one: (-abs(one.change), -abs(one.cum_share - one.cum_before), one.function))


def noise(now: Profile, before: Profile) -> float:
    """By how much parts of all samples differ by chance: twice the standard deviation of a half, 0..1."""
    fewest = min(now.samples, before.samples)
    return 2 * (0.25 * 2 / fewest) ** 0.5 if fewest else 1.0


def points(value: float) -> str:
    """A difference of parts: 0.123 -> "+12.3"."""
    return f"{value * 100:+.1f}"


def change_lines(now: Profile, before: Profile, most: int = 30) -> Iterator[str]:
    """Two profiles side by side, as text."""
    when = units.timestamp(before.began)
    yield f"against {before.samples:,} samples of {when}; less than {noise(now, before):.0%} may be chance"
    yield ""
    yield f"{'CHANGE':>7}  {'FLAT':>7}  {'BEFORE':>7}  {'CUM':>7}  {'BEFORE':>7}  FUNCTION"
    for one in changes(now, before)[:most]:
        shares = (one.flat_share, one.flat_before, one.cum_share, one.cum_before)
        cells = "  ".join(f"{units.share(each):>7}" for each in shares)
        yield f"{points(one.change):>7}  {cells}  {one.function}"
