"""Goroutines of made-up programs, for stories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gotriage.records.goroutines import (
    Frame,
    Goroutine,
    GoroutineCounts,
    GoroutineGroup,
    Goroutines,
    GroupCount,
    OnCpu,
    Stack,
    WaitObject,
)

if TYPE_CHECKING:
    from tests.rules.conftest import Story


class Program:
    """The goroutines of one look.

    Attributes:
        story: where looks go.
        began: story time since which goroutines wait, where a group does not say so itself.
    """

    def __init__(self, story: Story, began: float = 0.0) -> None:
        self.story, self.began = story, began
        self.clear()

    def clear(self) -> Program:
        self.rows: list[GoroutineGroup] = []
        self.all: list[Goroutine] = []
        self.objects: list[WaitObject] = []
        self.stacks: list[Stack] = []
        self.sites: list[Frame] = []
        self.running: list[OnCpu] = []
        self.cycles: tuple[Any, ...] = ()
        return self

    def group(
        self,
        reason: str,
        where: str,
        number: int = 1,
        first: int | None = None,
        *,
        since: float | None = None,
        on: int | None = None,
        state: str = "waiting",
        by: str = "main.main",
        system: bool = False,
        source: str = "observed",
    ) -> Program:
        """So many goroutines; ids from `first` on, by default behind those that are there."""
        begin = first if first is not None else 1 + max((one.id for one in self.all), default=0)
        ids = range(begin, begin + number)
        file = f"/src/{where.rpartition('.')[0].replace('/', '_')}.go"
        self.stacks.append(Stack((Frame("runtime.gopark", "/go/proc.go", 400), Frame(where, file, 10 + len(where)))))
        self.sites.append(Frame(by, "/src/main.go", 7))
        time = self.story.time(self.began if since is None else since)
        wait = "" if state != "waiting" else reason
        self.rows.append(
            GoroutineGroup(
                key=f"{reason}/{where}", state=state, wait_reason=wait, count=number, ids=tuple(ids[:20]),
                where=where, where_file=file, where_line=10 + len(where), created_at=by, user=1,
                stack=len(self.stacks) - 1, created_by=len(self.sites) - 1, since=time, oldest_id=begin,
                since_source=source, system=system, waiting_on=on,
            )
        )  # fmt: skip
        self.all += [
            Goroutine(
                id=goid, state=state, wait_reason=wait, stack=len(self.stacks) - 1, created_by=len(self.sites) - 1,
                since=time, waiting_on=on, system=system,
            )
            for goid in ids
        ]  # fmt: skip
        if state == "running":
            self.running += [OnCpu(goid, where) for goid in ids]
        return self

    def idle(self) -> Program:
        """What every HTTP service has."""
        self.group("chan receive", "main.main", 1, by="")
        self.group("IO wait", "main.serve", 1)
        self.group("syscall", "os/signal.loop", 1, state="syscall", by="os/signal.watchSignalLoop")
        return self.group("force gc (idle)", "runtime.forcegchelper", 4, system=True, by="runtime.init")

    def channel(self, address: int, senders: int = 0, receivers: int = 0, **more: Any) -> Program:
        ids = tuple(one.id for one in self.all if one.waiting_on == address)[:20]
        more = {"ids": ids, **more}
        self.objects.append(
            WaitObject(
                address=address, type="channel", waiters=senders + receivers, senders=senders, receivers=receivers,
                **more,
            )
        )  # fmt: skip
        return self

    def lock(self, address: int, waiters: int, holders: tuple[int, ...] = (), kind: str = "mutex") -> Program:
        ids = tuple(one.id for one in self.all if one.waiting_on == address)[:20]
        self.objects.append(WaitObject(address=address, type=kind, waiters=waiters, ids=ids, holders=holders))
        return self

    def look(self, at: float | None = None) -> Program:
        """Write the look down, and forget it."""
        own = [row for row in self.rows if not row.system]
        self.story.add(
            Goroutines, at, rows=tuple(self.rows), goroutines=tuple(self.all[:5000]), stacks=tuple(self.stacks),
            sites=tuple(self.sites), objects=tuple(self.objects), cycles=self.cycles, total=len(self.all),
            system=sum(row.count for row in self.rows if row.system),
        )  # fmt: skip
        self.story.add(
            GoroutineCounts, at, total=len(self.all), system=sum(row.count for row in self.rows if row.system),
            groups={row.key: GroupCount(row.count, min(row.ids), max(row.ids)) for row in own[:20]},
            running=tuple(self.running),
        )  # fmt: skip
        return self.clear()
