"""What runs in the kernel: programs as files, never Python strings.

`NAME.bpf.c` is compiled by `./dev probes` into `objects/ARCH/NAME.bpf.o`, which ships; `kernel.h` has the kernel's
types, `goroutine.h` says which goroutine a thread runs.
"""

from __future__ import annotations

import platform
from importlib.resources import files
from typing import Final

from gotriage.errors import MissingFacility

ARCHITECTURES: Final = {"x86_64": "x86", "aarch64": "arm64"}
"""Machines that there are objects for, in the kernel's and libbpf's spelling of their names."""


def object_bytes(name: str) -> bytes:
    """The compiled programs of `NAME.bpf.c` for this machine. Raises MissingFacility."""
    machine = platform.machine()
    arch = ARCHITECTURES.get(machine)
    if arch is None:
        known = " and ".join(ARCHITECTURES)
        raise MissingFacility(f"the BPF programs are built for {known}, this is {machine}")
    return files(__name__).joinpath("objects", arch, f"{name}.bpf.o").read_bytes()
