"""Programs that the user has written for a probe, read from a file with the user's own rights."""

from __future__ import annotations

import os
from typing import Final

from gotriage.errors import UsageError
from gotriage.host import regular

LONGEST: Final = 48 * 1024
"""Bytes: what a request to the agent carries."""


def read(path: str) -> str:
    """The text of a program. Raises UsageError, in words, for what cannot be one."""
    path = os.path.expanduser(path.strip())
    try:
        fd = regular.opened(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or 'it cannot be read'}") from error
    with os.fdopen(fd, "rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise UsageError(f"{path}: longer than {LONGEST // 1024} KB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: it is no text") from error


def kind(text: str) -> str:
    """Which probe runs it: "script" for bpftrace, "bcc" for a C program of BCC. Raises UsageError for Python."""
    begin = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith(("from bcc import", "import bcc")) for line in begin):
        raise UsageError("Python is not run as root: give its C program")
    c = any("TRACEPOINT_PROBE(" in line or line.startswith(("BPF_HASH(", "BPF_PERF_OUTPUT(")) for line in begin)
    return "bcc" if c else "script"
