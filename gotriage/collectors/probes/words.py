"""Numbers of the kernel in words: addresses, signals, flags of open(2), why a process ended, disks."""

from __future__ import annotations

import ipaddress
import os
import signal
from typing import Final

from gotriage.records.errnos import errno_name

AF_INET6: Final = 10
OUTCOMES: Final = ("delivered", "ignored", "pending already", "lost: queue full", "delivered, details lost")
"""TRACE_SIGNAL_* of include/trace/events/signal.h."""
SI_KERNEL: Final = 0x80
OPEN_FLAGS: Final = {
    name: getattr(os, name)
    for name in (
        "O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND", "O_NONBLOCK", "O_SYNC", "O_DSYNC", "O_DIRECT", "O_DIRECTORY",
        "O_NOFOLLOW", "O_PATH", "O_TMPFILE",
    )
}  # fmt: skip
ACCESS: Final = ("read", "write", "read+write", "")
DISK_OPS: Final = {0: "read", 1: "write", 2: "flush", 3: "discard", 5: "secure erase", 7: "zone append", 9: "zeroes"}
"""enum req_op of include/linux/blk_types.h."""
GO_KINDS: Final = {
    2: "an int", 6: "an int64", 17: "an array", 20: "an interface", 21: "a map", 22: "a pointer", 23: "a slice",
    24: "a string", 25: "a struct",
}  # fmt: skip
"""internal/abi/type.go."""


def failure(result: int) -> str:
    """The errno of a negative result."""
    return errno_name(-result)


def end_words(code: int) -> tuple[str, bool]:
    """A wait(2) status in words, and whether it is a failure; -1 is an end by a signal that is not known."""
    if code < 0:
        return "killed", True
    if code & 0x7F:
        return signal_name(code & 0x7F) + (" (core)" if code & 0x80 else ""), True
    status = code >> 8 & 0xFF
    return f"exit {status}", status != 0


def signal_name(number: int) -> str:
    """SIGTERM; "signal 34" for those without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def address(family: int, first: int, second: int, port: int | None = None) -> str:
    """An address as it lies in the kernel's memory, with its port."""
    if family == AF_INET6:
        host: object = ipaddress.IPv6Address(first.to_bytes(8, "little") + second.to_bytes(8, "little"))
        mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
        host = mapped or f"[{host}]" if port is not None else mapped or host
    else:
        host = ipaddress.IPv4Address((first & 0xFFFFFFFF).to_bytes(4, "little"))
    return f"{host}:{port}" if port is not None else str(host)


def open_flags(flags: int) -> str:
    """Flags of open(2), the access first."""
    words = [ACCESS[flags & 3]]
    for name, bit in OPEN_FLAGS.items():
        if bit and flags & bit == bit:
            words.append(name[2:].lower())
            flags &= ~bit
    return " ".join(word for word in words if word)


def fault_words(code: int) -> str:
    """The error code of a page fault on x86 (arch/x86/include/asm/trap_pf.h)."""
    what = "fetch" if code & 16 else "write" if code & 2 else "read"
    return f"{what}, {'protected' if code & 1 else 'not there yet'}"


def disk_op(op: int) -> str:
    """What is asked of a disk."""
    return DISK_OPS.get(op & 0xFF, f"operation {op & 0xFF}")


def text_of(data: bytes) -> str:
    """A C string."""
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")
