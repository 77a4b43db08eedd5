"""Which tracepoints the running kernel has, by its own type information: no file of tracefs is needed for that."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import MissingFacility

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BTF = 64 * 1024 * 1024


@cache
def _has(sys: Path, name: str) -> bool:
    """Each tracepoint has a type btf_trace_NAME (include/trace/bpf_probe.h)."""
    return b"\0btf_trace_" + name.encode() + b"\0" in _types(sys)


@cache
def _types(sys: Path) -> bytes:
    try:
        with Path(sys, "kernel/btf/vmlinux").open("rb") as file:
            data = file.read(MAX_BTF)
    except OSError as error:
        raise MissingFacility(f"the kernel offers no type information: {error.strerror}") from error
    # Of the strings only what begins so is kept: the whole has megabytes (Documentation/bpf/btf.rst, header).
    start = int.from_bytes(data[4:8], "little") + int.from_bytes(data[16:20], "little")
    names = data[start:].split(b"\0")
    return b"\0" + b"\0".join(name for name in names if name.startswith(b"btf_trace_")) + b"\0"


def missing(sys: Path, names: Iterable[str]) -> list[str]:
    """Those of the tracepoints "group:name" that this kernel does not have. Raises MissingFacility without BTF."""
    return [name for name in names if not _has(sys, name.partition(":")[2])]
