"""Every open file descriptor of the target."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from gotriage.records.base import Record, Row


class OpenFile(Row, frozen=True, kw_only=True, gc=False):
    """One descriptor (proc_pid_fd(5), proc_pid_fdinfo(5)).

    `type` is file, dir, socket, pipe, char, block, anon (eventpoll, eventfd, timerfd, pidfd ... in `name`) or memfd.
    For sockets `protocol` (tcp, tcp6, udp, udp6, unix, netlink ...), `state` in the kernel's words (ESTABLISHED,
    CLOSE_WAIT, LISTEN ...), `local` and `peer` as address:port, `name` as `local`; the queues of a listening TCP
    socket are its accept queue's length and bound. For pipes `peer` names the process at the other end ("pid 7 (tee)",
    "itself", "nobody"). Sizes and offsets in bytes. `mode` is "" and `offset` None where they were not read.
    """

    pid: int
    fd: int
    type: str
    name: str = ""
    inode: int | None = None
    mode: str = ""
    """r, w or rw, then a for O_APPEND, n for O_NONBLOCK, c for O_CLOEXEC."""
    offset: int | None = None
    size: int | None = None
    deleted: bool = False
    protocol: str = ""
    state: str = ""
    local: str = ""
    peer: str = ""
    recv_queue: int | None = None
    send_queue: int | None = None


class FileCounts(Record, frozen=True, kw_only=True, tag="file_counts"):
    """How many descriptors, by type, each second; `soft_limit` is RLIMIT_NOFILE of the fullest process.

    `total` counts all processes, `fullest` is the count of the process nearest to its own soft limit, `fullest_pid`.
    """

    keep: ClassVar[int] = 3600

    total: int | None = None
    fullest: int | None = None
    fullest_pid: int | None = None
    soft_limit: int | None = None
    hard_limit: int | None = None
    by_type: dict[str, int] = {}
    by_type_at: datetime | None = None
    """When the types were counted, where that was earlier (many descriptors are counted by type more seldom)."""


class FileTable(Record, frozen=True, kw_only=True, tag="files"):
    """The descriptors one by one; `omitted` more were not listed because a bound was reached."""

    keep: ClassVar[int] = 30

    rows: tuple[OpenFile, ...] = ()
    omitted: int = 0
    by_state: dict[str, int] = {}
    """Sockets by `protocol state`, as in "tcp CLOSE_WAIT"; one that several descriptors share counts once."""
    by_peer: dict[str, dict[str, int]] = {}
    """State to remote address to count, the 20 largest of each state."""
