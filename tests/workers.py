"""Which of two workers runs what, so that a whole run takes half the time (`-n 2 --dist loadscope`)."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

READERS = (
    "test_cores.py", "test_findings_runtime.py", "test_go_builds.py", "test_goroutines.py",
    "test_goroutines_services.py", "test_probepoints.py", "test_recordings.py", "test_show_goroutines.py",
)  # fmt: skip
"""Of tests/real those that read processes of their own, and change nothing of the machine."""


class OneKernel(LoadScopeScheduling):
    """One worker runs what is real, a test at a time, for there is one kernel; the other the rest, file by file."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.partition("::")[0])
        return "real" if path.parent.name in ("real", "lab") and path.name not in READERS else str(path)
