"""All descriptors of a process in one read: an iterator program in the kernel writes a record for each.

Tens of thousands of them take some ten milliseconds, with offset, flags, size and socket addresses, where /proc takes
one to four system calls each. Needs Linux 6.1, its type information, and CAP_BPF with CAP_PERFMON or CAP_SYS_ADMIN.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.errors import GotriageError
from gotriage.host import bpf, btf
from gotriage.host.bpf import FP, R0, R1, R2, R3, R6, R7, R8, R9, Program
from gotriage.host.fdread import NO_STAT, mode
from gotriage.host.sockdiag import STATES, Hosts, Table
from gotriage.records.files import OpenFile
from gotriage.records.text import clean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.host import Host
    from gotriage.host.btf import Btf
    from gotriage.host.fdread import Entry

TYPES: Final = (
    "bpf_iter__task_file", "bpf_iter_meta", "task_struct", "files_struct", "fdtable", "file", "inode", "socket", "sock",
    "sock_common", "tcp_sock", "bpf_iter_task_file",
)  # fmt: skip
HEAD: Final = struct.Struct("=IIIIqQqII")
"""fd, close on exec, flags, st_mode, offset, inode, size, hard links, length of the path that follows or 0."""
SOCK: Final = struct.Struct("=IIIHxxIIII16s16s")
"""family, protocol, state, remote port (network order), local port, receive and send queue, unused, two addresses."""
WHOLE: Final = struct.Struct("=IIII8xQ8x4xI IIIHxxIII4x16s16s")
"""The record of a socket, both together, without what sockets do not have."""
_HEADS: Final = np.dtype(
    {
        "names": ["fd", "mode", "inode", "length"],
        "formats": ["u4", "u4", "u8", "u4"],
        "offsets": [0, 12, 24, 44],
        "itemsize": WHOLE.size,
    }
)
"""What matters of a socket's record where there are many."""
SWAP: Final = sys.byteorder == "little"
S_IFMT, S_IFSOCK, S_IFREG, TCP = 0o170000, 0o140000, 0o100000, 6
HEAD_AT, SOCK_AT, PATH_AT = -112, -64, -512
PATH_SIZE: Final = 400
"""Longest path that is told; longer ones are read from /proc."""


def program(types: Btf) -> Program:
    """The program for this kernel."""
    code = Program()
    at = types.offset
    context = "bpf_iter__task_file"
    code.move(R6, R1)
    code.load(R7, R6, at(context, "file"))
    code.jump("==", R7, 0, "out")
    code.load(R8, R6, at(context, "task"))
    code.jump("==", R8, 0, "out")
    code.load(R9, R6, at(context, "meta"))
    code.load(R9, R9, at("bpf_iter_meta", "seq"))
    code.load(R6, R6, at(context, "fd"), 4)
    code.store(HEAD_AT, R6, 4)
    _close_on_exec(code, types)
    code.load(R1, R7, at("file", "f_flags"), 4)
    code.store(HEAD_AT + 8, R1, 4)
    code.load(R1, R7, at("file", "f_pos"))
    code.store(HEAD_AT + 16, R1)
    code.load(R2, R7, at("file", "f_inode"))
    inode = ((12, "i_mode", 2, 4), (24, "i_ino", 8, 8), (32, "i_size", 8, 8), (40, "i_nlink", 4, 4))
    for place, member, size, into in inode:
        code.load(R1, R2, at("inode", member), size)
        code.store(HEAD_AT + place, R1, into)
    code.zero(HEAD_AT + 44, 4)
    code.move(R1, R7)
    code.call(bpf.SOCK_FROM_FILE)
    code.jump("!=", R0, 0, "socket")
    _path(code, types)
    code.place("socket")
    _socket(code, types)
    code.place("out")
    code.set(R0, 0)
    code.leave()
    return code


def _close_on_exec(code: Program, types: Btf) -> None:
    """The flag of the descriptor, which is not the file's: bit `fd` of task->files->fdt->close_on_exec."""
    code.load(R3, R8, types.offset("task_struct", "files"))
    code.load(R3, R3, types.offset("files_struct", "fdt"))
    code.load(R3, R3, types.offset("fdtable", "close_on_exec"))
    code.move(R1, R6)
    code.shift(R1, -6)
    code.shift(R1, 3)
    code.add_register(R3, R1)
    code.zero(PATH_AT)
    code.move(R1, FP)
    code.add(R1, PATH_AT)
    code.set(R2, 8)
    code.call(bpf.PROBE_READ_KERNEL)
    code.load_frame(R1, PATH_AT)
    code.keep(R6, 63)
    code.bit(R1, R6)
    code.store(HEAD_AT + 4, R1, 4)


def _write(code: Program, start: int, size: int) -> None:
    code.move(R1, R9)
    code.move(R2, FP)
    code.add(R2, start)
    code.set(R3, size)
    code.call(bpf.SEQ_WRITE)


def _path(code: Program, types: Btf) -> None:
    """Anything but a socket: the head, and the path as readlink(2) of /proc/PID/fd/N would tell it."""
    code.move(R1, R7)
    code.add(R1, types.offset("file", "f_path"))
    code.move(R2, FP)
    code.add(R2, PATH_AT)
    code.set(R3, PATH_SIZE)
    code.call(bpf.D_PATH)
    code.move(R8, R0)
    code.jump("s<", R8, 1, "no path")
    code.jump(">", R8, PATH_SIZE, "no path")
    code.store(HEAD_AT + 44, R8, 4)
    _write(code, HEAD_AT, HEAD.size)
    code.move(R1, R9)
    code.move(R2, FP)
    code.add(R2, PATH_AT)
    code.move(R3, R8)
    code.call(bpf.SEQ_WRITE)
    code.go("out")
    code.place("no path")
    _write(code, HEAD_AT, HEAD.size)
    code.go("out")


def _socket(code: Program, types: Btf) -> None:
    """A socket: the head and what struct sock says of it (include/net/sock.h)."""
    at = types.offset
    common = "__sk_common"
    code.load(R8, R0, at("socket", "sk"))
    fields = (
        (0, (common, "skc_family"), 2, 4),
        (4, ("sk_protocol",), 2, 4),
        (8, (common, "skc_state"), 1, 4),
        (12, (common, "skc_dport"), 2, 4),
        (16, (common, "skc_num"), 2, 4),
        (20, ("sk_ack_backlog",), 4, 4),
        (24, ("sk_max_ack_backlog",), 4, 4),
    )
    for place, members, size, into in fields:
        code.load(R1, R8, at("sock", *members), size)
        code.store(SOCK_AT + place, R1, into)
    code.zero(SOCK_AT + 28, 4)
    for place, v4, v6 in ((32, "skc_rcv_saddr", "skc_v6_rcv_saddr"), (48, "skc_daddr", "skc_v6_daddr")):
        code.load(R1, R8, at("sock", common, v6))
        code.store(SOCK_AT + place, R1)
        code.load(R1, R8, at("sock", common, v6) + 8)
        code.store(SOCK_AT + place + 8, R1)
        code.load(R2, R8, at("sock", common, "skc_family"), 2)
        code.jump("!=", R2, socket.AF_INET, f"{v6} done")
        code.load(R1, R8, at("sock", common, v4), 4)
        code.store(SOCK_AT + place, R1, 4)
        code.zero(SOCK_AT + place + 4, 4)
        code.zero(SOCK_AT + place + 8)
        code.place(f"{v6} done")
    _queues(code, types)
    _write(code, HEAD_AT, HEAD.size + SOCK.size)


def _queues(code: Program, types: Btf) -> None:
    """Unread and unacknowledged bytes of a TCP socket that does not listen, as inet_diag counts them (tcp_diag.c)."""
    at = types.offset
    code.load(R1, R8, at("sock", "__sk_common", "skc_state"), 1)
    code.jump("==", R1, STATES.index("LISTEN"), "queues done")
    code.zero(SOCK_AT + 20, 4)
    code.zero(SOCK_AT + 24, 4)
    code.move(R1, R8)
    code.call(bpf.SKC_TO_TCP_SOCK)
    code.jump("==", R0, 0, "queues done")
    for place, newer, older in ((20, "rcv_nxt", "copied_seq"), (24, "write_seq", "snd_una")):
        code.load(R1, R0, at("tcp_sock", newer), 4)
        code.load(R2, R0, at("tcp_sock", older), 4)
        code.subtract(R1, R2)
        code.store(SOCK_AT + place, R1, 4)
    code.place("queues done")


# -- the user's side


@dataclass(slots=True)
class Found:
    """The descriptors of one process: rows of regular files and of Internet sockets, numbers and entries of all others,
    and the Internet sockets by inode."""

    rows: list[OpenFile] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    sockets: Table = field(default_factory=dict)
    incomplete: list[int] = field(default_factory=list)
    """Places in `entries` that /proc knows more of: paths that are too long, and pidfds."""


@cache
def _loaded(folder: str) -> int | None:
    """The program's descriptor, loaded once; None where this kernel or our rights do not let us."""
    try:
        types = btf.of_kernel(Path(folder), TYPES)
        return bpf.load_iterator(program(types), types.function("bpf_iter_task_file"))
    except (GotriageError, OSError):
        return None


def read(host: Host, pid: int, limit: int) -> Found | None:
    """All descriptors of the process, at most `limit`; None where this way is closed, or there is nothing to see."""
    data = raw(host, pid)
    return parse(pid, data, limit) if data else None


def raw(host: Host, pid: int) -> bytes | None:
    """The records of the program; None where this way is closed."""
    if str(host.proc.root) != "/proc":
        return None
    loaded = _loaded(str(host.sys))
    if loaded is None:
        return None
    try:
        return bpf.run_iterator(loaded, pid)
    except (GotriageError, OSError):
        return None


def socket_inodes(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inodes and descriptors of the sockets among the records of the program, nothing more."""
    inodes, fds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    at, last, end = 0, -1, len(data)
    while at + HEAD.size <= end:
        fd, _, _, st_mode, _, _, _, _, length = HEAD.unpack_from(data, at)
        if fd <= last:  # a second table of descriptors
            break
        if st_mode & S_IFMT != S_IFSOCK or length:
            at, last = at + HEAD.size + length, fd
            continue
        run = _run(data, at, last)
        if not len(run):
            break
        inodes.append(run["inode"].astype(np.int64))
        fds.append(run["fd"].astype(np.int64))
        at, last = at + len(run) * WHOLE.size, int(fds[-1][-1])
    return np.concatenate(inodes), np.concatenate(fds)


def _run(data: bytes, at: int, last: int) -> NDArray[np.void]:
    """The sockets that follow each other from there on; the look ahead grows with what it finds."""
    size, number, most = 16, 0, (len(data) - at) // WHOLE.size
    heads = np.frombuffer(data, _HEADS, most, at) if most else np.zeros(0, _HEADS)
    while number < most:
        some = heads[number : number + size]
        alike = (some["mode"] & S_IFMT == S_IFSOCK) & (some["length"] == 0)
        alike &= np.diff(some["fd"].astype(np.int64), prepend=last) > 0
        good = len(some) if alike.all() else int(np.argmin(alike))
        number += good
        if good < len(some):
            break
        last, size = int(some["fd"][-1]), size * 2
    return heads[:number]


def parse(pid: int, data: bytes, limit: int) -> Found:
    """The records of the program. A second table of descriptors (a thread with its own) ends the list."""
    runs = _Runs(pid, data, limit)
    while runs.others() and runs.sockets():
        pass
    return runs.found


class _Runs:
    """The records in turn: runs of sockets, which all take the same number of bytes, and runs of everything else."""

    def __init__(self, pid: int, data: bytes, limit: int) -> None:
        self.found = Found()
        self._pid, self._data, self._left = pid, data, limit
        self._at, self._last = 0, -1
        self._view = memoryview(data)
        self._hosts: dict[int, _Hosts] = {family: _Hosts(family) for family in (socket.AF_INET, socket.AF_INET6)}
        self._modes, self._paths = _Modes(), _Paths()

    def others(self) -> bool:
        """Records up to the next socket, and whether there is one. A regular file is a row at once."""
        pid, data, at, last, left, more = self._pid, self._data, self._at, self._last, self._left, False
        found, modes, paths, unpack, end = self.found, self._modes, self._paths, HEAD.unpack_from, len(self._data)
        while at + HEAD.size <= end and left > 0:
            fd, closing, flags, st_mode, offset, inode, size, links, length = unpack(data, at)
            kind = st_mode & S_IFMT
            if fd <= last or (kind == S_IFSOCK and not length):
                more = fd > last
                break
            last = fd
            left -= 1
            start = at + HEAD.size
            at = start + length
            link, name = paths[data[start : at - 1]] if length else ("", "")
            mode = modes[flags, closing]
            if name and kind == S_IFREG:
                found.rows.append(
                    OpenFile(pid=pid, fd=fd, type="file", name=name, inode=inode, mode=mode, offset=offset, size=size)
                )
                continue
            if not link or "pidfd" in link[:20]:
                found.incomplete.append(len(found.entries))
            facts = (st_mode, size, inode, links) if link[:1] == "/" else NO_STAT
            found.numbers.append(fd)
            found.entries.append((link, (mode, offset, None), facts) if link else "")
        self._at, self._last, self._left = at, last, left
        return more

    def sockets(self) -> bool:
        """Sockets up to the next other record; False when it is cut. Those of no Internet are left to sock_diag."""
        pid, at, last, modes, found = self._pid, self._at, self._last, self._modes, self.found
        many, table, add, done = (
            min((len(self._data) - at) // WHOLE.size, self._left),
            found.sockets,
            found.rows.append,
            0,
        )
        family, hosts, before, mode = 0, None, -1, ""
        for (
            fd, closing, flags, st_mode, inode, length, kind, protocol, state, dport, sport, recv, send, source, target
        ) in WHOLE.iter_unpack(self._view[at : at + many * WHOLE.size]):  # fmt: skip
            if st_mode & S_IFMT != S_IFSOCK or length or fd <= last:
                break
            last = fd
            done += 1
            if (now := flags << 1 | closing) != before:
                before, mode = now, modes[flags, closing]
            if kind != family:
                family, hosts = kind, self._hosts.get(kind)
            if hosts is None:
                found.numbers.append(fd)
                found.entries.append((inode, mode))
                continue
            port = (dport >> 8 | (dport & 0xFF) << 8) if SWAP else dport
            local = f"{hosts[source]}:{sport}" if sport else ""
            peer = f"{hosts[target]}:{port}" if port or state == 1 else ""
            name, word = hosts.tcp, _STATES[state & 0xFF]
            unread, unsent = recv, send
            if protocol != TCP:
                name, unread, unsent = hosts.protocols.get(protocol, "ip"), None, None
            table[inode] = (name, word, local, peer, unread, unsent)
            row = OpenFile(
                pid=pid, fd=fd, type="socket", name=local or f"socket:[{inode}]", inode=inode, mode=mode, protocol=name,
                state=word, local=local, peer=peer, recv_queue=unread, send_queue=unsent,
            )  # fmt: skip
            add(row)
        self._at, self._last, self._left = at + done * WHOLE.size, last, self._left - done
        return done > 0


class _Paths(dict[bytes, tuple[str, str]]):
    """What the kernel calls a file, as text, and its name in a row; "" where more than the link must be looked at."""

    def __missing__(self, raw: bytes) -> tuple[str, str]:
        link = raw.decode("utf-8", "surrogateescape")
        found = self[raw] = link, clean(link) if link[:1] == "/" and link[-1] != ")" else ""
        return found


class _Modes(dict[tuple[int, int], str]):
    """Flags of the file and of the descriptor in letters."""

    def __missing__(self, key: tuple[int, int]) -> str:
        flags, closing = key
        text = self[key] = mode(flags | (os.O_CLOEXEC if closing else 0))
        return text


_STATES: Final = (*STATES, *map(str, range(len(STATES), 256)))
_PROTOCOLS: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp", 136: "udplite", 255: "raw", 262: "mptcp"}


class _Hosts(Hosts):
    """Addresses as text, and names of protocols, of one family."""

    def __init__(self, family: int) -> None:
        super().__init__(family)
        six = "6" if family == socket.AF_INET6 else ""
        self.protocols = {number: f"{_PROTOCOLS.get(number, f'ip-{number}')}{six}" for number in range(512)}
        self.tcp = self.protocols[TCP]
