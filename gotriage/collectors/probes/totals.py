"""Totals of the kernel as rows and histograms, with names for addresses, calls and disks."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from gotriage.collectors.probes import words
from gotriage.host.callnames import call_name
from gotriage.probes import library
from gotriage.probes.library import PROBES
from gotriage.records.probes import Bucket, ProbeCount, ProbeHistogram
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.collectors.probes.raw import Own, OwnHistogram, Total
    from gotriage.host.proc import Mapping

MOST_ROWS: Final = 200
"""Rows of one probe that are told."""
MOST_NAMES: Final = 256
NAME: Final = 300
SLOT: Final = 1024e-9
"""Seconds of the first slot's begin; each further one begins at twice that (events.h, slot_of)."""
HUGE: Final = 21
"""Addresses of page faults are in steps of 2 MB."""
OWN_IO: Final = 256
ANONYMOUS: Final = "memory without a file"
ARENA: Final = 4 << 20
"""Go's heap begins at a multiple of that on 64-bit machines (runtime/malloc.go, heapArenaBytes and its parts)."""


class Names(Protocol):
    """What has to be looked up elsewhere."""

    def mappings(self) -> Sequence[Mapping]:
        """Of the target's main process, by address."""
        ...

    def disk(self, device: int) -> str:
        """A disk by its number."""
        ...

    def places(self, pcs: Sequence[int], *, exact: bool) -> Sequence[str]:
        """Functions with file and line, "" for those that are not known."""
        ...


def bucket(slot: int, count: int) -> Bucket:
    """A slot of the kernel's scale."""
    return Bucket(low=SLOT * 2**slot if slot else 0.0, high=SLOT * 2 ** (slot + 1), count=count)


def histogram(probe: str, name: str, slots: Sequence[int]) -> ProbeHistogram | None:
    """From the first slot that has something to the last one; None when none has."""
    used = [number for number, count in enumerate(slots) if count]
    if not used:
        return None
    rows = tuple(bucket(number, slots[number]) for number in range(used[0], used[-1] + 1))
    return ProbeHistogram(probe=probe, name=name, buckets=rows)


def place_of(mappings: Sequence[Mapping], starts: Sequence[int], low: int, high: int) -> str:
    """What lies at an address: a file, what a program keeps in memory beside its file, the stack, a heap."""
    at = max(bisect_right(starts, low) - 1, 0)
    for number, mapping in enumerate(mappings[at : at + 8], at):
        if mapping.start < high and mapping.end > low:
            return _place(mapping, mappings[number - 1] if number else None)
    return "unmapped since"


def _place(mapping: Mapping, before: Mapping | None) -> str:
    if mapping.path.startswith("["):
        return mapping.path
    if mapping.path:
        part = "code" if "x" in mapping.perms else "data" if "w" in mapping.perms else "constants"
        return f"{mapping.path.rpartition('/')[2]} {part}"
    if before is not None and before.end == mapping.start and before.path.startswith("/") and "w" in before.perms:
        return f"{before.path.rpartition('/')[2]} data"  # .bss
    return f"{ANONYMOUS}, heap" if mapping.start % ARENA == 0 else ANONYMOUS


class Totals:
    """Rows of the probes that run."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._probes = {kind: probe.id for probe in PROBES for kind in probe.kinds}
        self._go: dict[tuple[int, bool], str] = {}
        self._before: dict[tuple[str, str, str], int] = {}
        self._at = 0.0

    def rows(self, totals: Sequence[Total], now: float) -> tuple[list[ProbeCount], list[ProbeHistogram], int]:
        """Rows with rates since the last call at `now` seconds, histograms, and how many rows were left out."""
        self._know_places(totals)
        found: dict[tuple[str, str, str], ProbeCount] = {}
        slots: dict[tuple[str, str], list[int]] = {}
        mappings = self._names.mappings() if any(t.kind in (library.WAITED, library.FAULTED) for t in totals) else ()
        starts = [mapping.start for mapping in mappings]
        for total in totals:
            probe = self._probes.get(total.kind)
            if probe is None:
                continue
            name, detail = self._named(total, mappings, starts)
            _add(found, (probe, clean(name, NAME), clean(detail, NAME)), total)
            label = f"{name} {detail}".strip() if probe in ("block-io", "syncs") else ""
            sums = slots.setdefault((probe, clean(label, NAME)), [0] * len(total.slots))
            for number, count in enumerate(total.slots):
                sums[number] += count
        rows, omitted = _most(list(found.values()))
        rated = [self._rated(row, now) for row in rows]
        self._before = {key: row.count for key, row in found.items()}
        self._at = now
        wanted = {p.id for p in PROBES if p.shows == "histogram"}
        made = [histogram(probe, name, counts) for (probe, name), counts in slots.items() if probe in wanted]
        return rated, [one for one in made if one is not None], omitted

    def _rated(self, row: ProbeCount, now: float) -> ProbeCount:
        seconds = now - self._at
        if self._at <= 0 or seconds <= 0:
            return row
        more = row.count - self._before.get((row.probe, row.name, row.detail), 0)
        return replace(row, rate=round(max(more, 0) / seconds, 1))

    def _named(self, total: Total, mappings: Sequence[Mapping], starts: Sequence[int]) -> tuple[str, str]:
        if total.kind in (library.SYNCED, library.MAPPED):
            return call_name(total.a), ""
        if total.kind == library.WAITED:
            return f"{place_of(mappings, starts, total.b, total.b + 4)} {total.b:#x}", ""
        if total.kind == library.FAULTED:
            low = total.b << HUGE
            return place_of(mappings, starts, low, low + (1 << HUGE)), words.fault_words(total.a)
        if total.kind == library.BLOCK_IO:
            who = "the target waits" if total.b & OWN_IO else "others, or later"
            return self._names.disk(total.a), f"{words.disk_op(total.b)}, {who}"
        if total.kind == library.GO_BEGUN:
            return self._go.get((total.b, False), f"{total.b:#x}"), self._go.get((total.c, True), "")
        return "all threads", ""

    def _know_places(self, totals: Sequence[Total]) -> None:
        """Ask for the names of new addresses, so many at a time."""
        wanted = {(t.b, False) for t in totals if t.kind == library.GO_BEGUN}
        wanted |= {(t.c, True) for t in totals if t.kind == library.GO_BEGUN}
        for exact in (False, True):
            new = [pc for pc, kind in wanted - self._go.keys() if kind == exact][:MOST_NAMES]
            names = self._names.places(new, exact=exact) if new else ()
            self._go.update({(pc, exact): name for pc, name in zip(new, names, strict=False) if name})


def _add(found: dict[tuple[str, str, str], ProbeCount], key: tuple[str, str, str], total: Total) -> None:
    """Several totals may have one name: 2 MB pieces of one mapping."""
    before = found.get(key)
    timed = total.kind not in (library.FAULTED, library.GO_BEGUN)
    sized = total.kind in (library.MAPPED, library.BLOCK_IO)
    found[key] = ProbeCount(
        probe=key[0],
        name=key[1],
        detail=key[2],
        count=total.hits + (before.count if before else 0),
        errors=total.errors + (before.errors if before else 0),
        total=total.sum / 1e9 + (before.total or 0.0 if before else 0.0) if timed else None,
        most=max(total.most / 1e9, before.most or 0.0 if before else 0.0) if timed else None,
        size=total.bytes + (before.size or 0 if before else 0) if sized else None,
    )


def _most(rows: list[ProbeCount]) -> tuple[list[ProbeCount], int]:
    """The largest ones of each probe, and how many were left out."""
    rows.sort(key=lambda row: (row.probe, -(row.total or 0.0) if row.probe == "futex-waits" else -row.count))
    kept: list[ProbeCount] = []
    seen: dict[str, int] = {}
    for row in rows:
        seen[row.probe] = seen.get(row.probe, 0) + 1
        if seen[row.probe] <= MOST_ROWS:
            kept.append(row)
    return kept, len(rows) - len(kept)


def own_rows(own: Sequence[Own]) -> list[ProbeCount]:
    """What a user's own program has counted, the most first."""
    rows = [
        ProbeCount(probe=one.probe, name=clean(one.key, NAME), detail=clean(one.name, NAME), count=one.hits)
        for one in own
    ]
    return sorted(rows, key=lambda row: (row.detail, -row.count))[:MOST_ROWS]


def own_histograms(own: Sequence[OwnHistogram]) -> list[ProbeHistogram]:
    """Histograms of a user's own program: of plain numbers, for nobody knows their unit."""
    return [
        ProbeHistogram(
            probe=one.probe,
            name=clean(one.name, NAME),
            unit="",
            buckets=tuple(Bucket(low=low, high=high, count=count) for low, high, count in one.buckets[:80]),
        )
        for one in own[:50]
    ]
