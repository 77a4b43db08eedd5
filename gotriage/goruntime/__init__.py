"""HOW GO LIES IN FILES AND IN MEMORY: a library of its own, which knows no target and no records.

    from gotriage.goruntime import attach

    with attach(4242) as runtime:                  # or attach(core="core.4242", exe="/usr/bin/api")
        print(runtime.identity)
        for group in runtime.dump().groups:
            print(group.count, group.wait_reason)

Files: elf, buildinfo, linkage, readelf; the loaders of glibc and musl: loader, ldso, ldcache, linkmap.
Memory, from the bytes up: memory (the seam), live, core; image, moduledata, pclntab, symbols (what code is there);
layout and layouts/ (how structs lie, as data), locate, checks, scan, calibrate, remembered (where variables are);
goroutines, unwind (columns and stacks), waits, conds, objects, reach, stuck (who waits for what, and for ever), spans,
counters (heap and scheduler), history (what only comparing looks tells); dumping, assembly, report (a look as plain
values); exports, compare. reader and client: the same in a child process that may be killed.
docs/goruntime.md tells more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gotriage.goruntime.runtime import Runtime


def attach(pid: int | None = None, *, core: str | None = None, exe: str | None = None) -> Runtime:
    """The Go runtime of a process, or of a core file with the program that it is of (runtime.attach).

    Raises GotriageError of many kinds, each of which says why there is no Go runtime that can be read.
    """
    from gotriage.goruntime import runtime  # numpy and all that: only for those who ask

    return runtime.attach(pid, core=core, exe=exe)
