"""One look's columns turned into plain values: groups, goroutines one by one, what they wait on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import goroutines
from gotriage.goruntime.labels import read_labels
from gotriage.goruntime.machines import thread_ids
from gotriage.goruntime.naming import is_system
from gotriage.goruntime.objects import Objects
from gotriage.goruntime.report import Dump, Frame, Goroutine, Group, SinceSource, Stack, WaitObject
from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gotriage.goruntime.dumping import Dumper, Look

    U64 = NDArray[np.uint64]

MAX_GROUPS: Final = 5000
MAX_LABELLED: Final = 20_000
"""Distinct label sets that are read."""
MAX_NAMED: Final = 100_000
"""Goroutines that wait for locks whose functions are looked at."""
IDS: Final = 20
ON_THREADS: Final = (goroutines.RUNNING, goroutines.SYSCALL)
_RECEIVE: Final = "chan receive"


class Assembly:
    """Turns one look into plain values."""

    def __init__(self, dumper: Dumper, look: Look, rows: int) -> None:
        self._dumper, self._look, self._rows = dumper, look, rows
        self._columns = look.columns
        self._goids = look.columns.unsigned("goid")
        self._status = look.columns.status
        self._stacks: dict[int, int] = {}
        self._stack_list: list[Stack] = []
        self._sites: dict[Frame, int] = {}
        self._numbers: dict[tuple[int, bool], int] = {}
        source = dumper.source
        self._threads = thread_ids(source.memory, source.layout, look.columns.unsigned("m"))
        self._labels: dict[int, dict[str, str]] = {}
        distinct, self._first, self._group_of, self._counts = np.unique(
            look.groups, return_index=True, return_inverse=True, return_counts=True
        )
        self._found_objects: tuple[WaitObject, ...] = ()
        self._keys = distinct
        self._order = np.argsort(-self._counts, kind="stable")

    def dump(self, at: float, begun: float, problems: list[str], *, grouped: bool = True) -> Dump:
        """The whole; `at`: time of day, `begun`: of the clock, when the look began."""
        look, columns, history = self._look, self._columns, self._dumper.history
        objects = self._objects()
        on = objects.on if objects is not None else look.waits.channel
        groups = self._groups(on) if grouped else ()
        system = sum(group.count for group in groups if group.system)
        chosen = self._choose()
        rows = tuple(self._goroutines(chosen, on))
        found = self._found_objects
        took = clock.monotonic() - begun
        names, numbers = np.unique(self._status, return_counts=True)
        states = zip(names.tolist(), numbers.tolist(), strict=True)
        return Dump(
            at=at,
            took=round(took, 6),
            count=len(columns),
            system=system,
            dead=columns.dead,
            moved=int(columns.moved.sum()),
            states={goroutines.STATES.get(state, f"state {state}"): number for state, number in states},
            reasons=look.reasons.counts(),
            stacks=tuple(self._stack_list),
            sites=tuple(self._sites),
            groups=groups,
            omitted_groups=max(0, len(self._keys) - len(groups)) if grouped else 0,
            goroutines=rows,
            omitted=len(columns) - len(rows),
            objects=found,
            cycles=objects.cycles() if objects is not None else (),
            first_at=history.first_at,
            before_at=history.before_at,
            problems=tuple(dict.fromkeys(problems)),
        )

    # -- parts

    def _objects(self) -> Objects | None:
        look = self._look
        waiting = np.flatnonzero(look.waits.semaphore != 0)
        names = {int(who): self._names(int(who)) for who in waiting[:MAX_NAMED].tolist()}
        source = self._dumper.source
        objects = Objects(source.memory, source.layout, self._goids, look.waits, names)
        self._found_objects = objects.build(
            look.reasons.those(_RECEIVE), look.needles, look.walked.mentions, look.alone
        )
        return objects

    def _names(self, who: int) -> tuple[str, ...]:
        key = int(self._look.walked.key[who])
        return tuple(frame.function for frame in self._dumper.stack(key, self._look.walked).frames) if key else ()

    def _groups(self, on: U64) -> tuple[Group, ...]:
        before, first = self._dumper.history.counts(dict(zip(self._keys.tolist(), self._counts.tolist(), strict=True)))
        by_group = np.argsort(self._group_of, kind="stable")
        starts = np.searchsorted(self._group_of[by_group], np.arange(len(self._keys) + 1))
        found = []
        for number in self._order[:MAX_GROUPS].tolist():
            members = by_group[starts[number] : starts[number + 1]]
            found.append(self._group(number, members, before, first, on))
        return tuple(found)

    def _group(
        self, number: int, members: NDArray[np.intp], before: dict[int, int] | None, first: dict[int, int], on: U64
    ) -> Group:
        look, key = self._look, int(self._keys[number])
        one = int(members[0])
        start = self._dumper.site(int(self._columns.unsigned("startpc")[one]), exact=True)
        ids = np.sort(self._goids[members])[:IDS]
        waits_of, oldest, since = self._oldest(members)
        targets = on[members]
        labels = np.unique(self._columns.unsigned("labels")[members])
        same = bool(targets[0]) and bool((targets == targets[0]).all())
        return Group(
            key=f"{key:016x}",
            state=goroutines.STATES.get(int(self._status[one]), "?"),
            wait_reason=look.reasons.of(one),
            count=len(members),
            ids=tuple(ids.tolist()),
            stack=self._stack(int(look.walked.key[one])),
            user=self._dumper.user(int(look.walked.key[one]), look.walked) if look.walked.key[one] else -1,
            created_by=self._creator(int(self._goids[one]), int(self._columns.unsigned("gopc")[one])),
            start=self._site(int(self._columns.unsigned("startpc")[one]), exact=True),
            system=start is not None and is_system(start.function),
            oldest=waits_of,
            oldest_id=oldest,
            since=since,
            before=None if before is None else before.get(key, 0),
            first=first.get(key, 0),
            moved=int(self._columns.moved[members].sum()),
            waiting_on=int(targets[0]) if same else None,
            labels=self._labels_of(int(labels[0])) if len(labels) == 1 else {},
        )

    def _oldest(self, members: NDArray[np.intp]) -> tuple[float | None, int | None, SinceSource]:
        look = self._look
        best = np.maximum(look.waited[members], look.runtime_wait[members])
        place = int(np.argmax(best))
        who = int(members[place])
        observed, stamped = float(look.waited[who]), float(look.runtime_wait[who])
        seconds, source = self._wait(int(self._status[who]), observed, stamped)
        return seconds, int(self._goids[who]), source

    def _wait(self, status: int, observed: float, stamped: float) -> tuple[float | None, SinceSource]:
        """How long it has been where it is, and how that is known."""
        if status not in (goroutines.WAITING, goroutines.SYSCALL):
            return None, ""
        if stamped > observed:
            return round(stamped, 3), "runtime"
        return (round(observed, 3), "observed") if self._dumper.history.before_at is not None else (None, "")

    def _choose(self) -> NDArray[np.intp]:
        """Those to show one by one: of every group the first ones, so that small groups are whole."""
        by_group = np.lexsort((self._goids, self._group_of))
        starts = np.searchsorted(self._group_of[by_group], self._group_of[by_group])
        rank = np.arange(len(by_group)) - starts
        chosen = by_group[np.argsort(rank, kind="stable")[: self._rows]]
        return chosen[np.argsort(self._goids[chosen], kind="stable")]

    def _goroutines(self, chosen: NDArray[np.intp], on: U64) -> Iterator[Goroutine]:
        """Those one by one: first all numbers out of their columns, then a value for each."""
        columns, look = self._columns, self._look
        names = ("goid", "startpc", "gopc", "parent", "labels", "lockedm", "m")
        ids, start, gopc, parent, labels, locked, machine = (columns.unsigned(n)[chosen].tolist() for n in names)
        seconds = [values[chosen].tolist() for values in (look.waited, look.runtime_wait)]
        status, keys = self._status[chosen].tolist(), look.walked.key[chosen].tolist()
        objects, moved, fds = on[chosen].tolist(), columns.moved[chosen].tolist(), look.waits.fd[chosen].tolist()
        wake = columns.column("sleep_when")[chosen].tolist()
        for n, who in enumerate(chosen.tolist()):
            reason, first = look.reasons.of(who), self._dumper.site(start[n], exact=True)
            waits, since = self._wait(status[n], seconds[0][n], seconds[1][n])
            yield Goroutine(
                id=ids[n],
                state=goroutines.STATES.get(status[n], f"state {status[n]}"),
                wait_reason=reason,
                stack=self._stack(keys[n]),
                created_by=self._creator(ids[n], gopc[n]),
                created_by_id=parent[n] or None,
                start=self._site(start[n], exact=True),
                waits=waits,
                since=since,
                waiting_on=objects[n] or None,
                labels=self._labels_of(labels[n]),
                thread=self._threads.get(machine[n]) if status[n] in ON_THREADS else None,
                locked=bool(locked[n]),
                system=first is not None and is_system(first.function),
                moved=moved[n],
                wake_in=round(max(0.0, wake[n] / 1e9 - look.now), 3) if reason == "sleep" and wake[n] else None,
                fd=fds[n] if fds[n] >= 0 else None,
            )

    def _stack(self, key: int) -> int:
        if not key or key not in self._look.walked.pcs:
            return -1
        if key not in self._stacks:
            self._stacks[key] = len(self._stack_list)
            self._stack_list.append(self._dumper.stack(key, self._look.walked))
        return self._stacks[key]

    def _creator(self, goid: int, pc: int) -> int:
        """Goroutine 1 is started by assembly, and has none (runtime/traceback.go, printcreatedby)."""
        return -1 if goid == 1 else self._site(pc, exact=False)

    def _site(self, pc: int, *, exact: bool) -> int:
        number = self._numbers.get((pc, exact))
        if number is None:
            frame = self._dumper.site(pc, exact=exact)
            number = -1 if frame is None else self._sites.setdefault(frame, len(self._sites))
            self._numbers[pc, exact] = number
        return number

    def _labels_of(self, pointer: int) -> dict[str, str]:
        if not pointer:
            return {}
        if pointer not in self._labels:
            if len(self._labels) >= MAX_LABELLED:
                return {}
            source = self._dumper.source
            self._labels[pointer] = read_labels(source.memory, source.layout, pointer)
        return self._labels[pointer]
