"""Where the threads of a running process keep their goroutine, for programs in the kernel (`goruntime.tls`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from gotriage import probes
from gotriage.goruntime.client import Reader
from gotriage.host import kerneltasks

if TYPE_CHECKING:
    from gotriage.goruntime.tls import Places

DEADLINE: Final = 10.0


def places_of(pid: int) -> Places:
    """The places. A reader process is started and ended for it, which takes a part of a second.

    Raises NoThreadLocal, NotGo and what else the reader raises, and what `libbpf.Object` raises.
    """
    threads = kerneltasks.tasks(probes.object_bytes("tasks"), pid)
    bases = {one.own_tid: one.base for one in threads if one.base}
    with Reader(pid) as reader:
        return cast("Places", reader.call("places", DEADLINE, bases=bases))
