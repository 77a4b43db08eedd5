"""A reader whose runtime does what a test says, in the place of one that reads Go."""

from __future__ import annotations

import os
import signal
import sys
import time

from gotriage.errors import NotPermitted, TargetGone
from gotriage.goruntime import reader, report
from gotriage.goruntime.refusals import NotGo
from gotriage.host import child

ERRORS = {error.__name__: error for error in (NotPermitted, TargetGone, NotGo, KeyError, MemoryError)}


class StubRuntime:
    """Its goroutines' number says what it does."""

    def __init__(self, memory) -> None:
        self.memory = memory
        self.looks = 0
        self.identity = report.Identity(go_version="go1.27.3", layout="table", arch=memory.arch)

    def dump(self, rows: int, *, locks: bool) -> report.Dump:
        self.looks += 1
        ones = tuple(
            report.Goroutine(id=number, state="waiting", wait_reason="select") for number in range(1, rows + 1)
        )
        return report.Dump(at=1.0, took=float(locks), count=self.looks, goroutines=ones)

    def counters(self, *, spans: bool) -> report.Counters:
        return report.Counters(at=1.0, took=0.0, threads=os.getpid(), queue=os.sched_getscheduler(0))

    def goroutine(self, what: int | str) -> report.Dump:
        if what == "late":
            time.sleep(600)
        elif what == "spin":
            while True:
                pass
        elif what == "end":
            os._exit(3)
        elif what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "print":
            print("x" * 100, flush=True)
        elif str(what).startswith("read "):
            self.memory.read(int(what.split()[1]), 1)
        elif what == "memory":
            bytearray(8 << 30)
        elif what in ERRORS:
            raise ERRORS[what](f"it is so: {what}")
        return self.dump(0, locks=False)

    def microstop(self) -> None:
        raise NotPermitted("not here")


if __name__ == "__main__":
    served = child.Served(*sys.argv[-2:])
    served.limit()
    reader.serve(served, StubRuntime)
