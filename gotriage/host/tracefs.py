"""The kernel's trace events (Documentation/trace/events.rst) in an instance of our own, and its raw buffers.

Where tracefs is not mounted, it is reached through a mount that hangs nowhere and goes with its descriptor: fsmount(2).
An instance outlives its maker: it is named after it, and `sweep` takes those of makers that have gone away.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Self

from gotriage.errors import GotriageError, MissingFacility, NotPermitted
from gotriage.host import clock
from gotriage.host.proc import Proc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PLACES: Final = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
"""System calls, the same numbers on all architectures (scripts/syscall.tbl), Linux 5.2."""
CREATE: Final = 6
"""FSCONFIG_CMD_CREATE of include/uapi/linux/mount.h; FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC are 1."""
PREFIX: Final = "gotriage-"
NAME: Final = re.compile(r"gotriage-(\d+)-(\d+)-(\d+)")
"""PID, start time in ticks, PID namespace of who made it."""
MOST_FILE: Final = 1 << 20
TRIES: Final = 20
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
FIELD: Final = re.compile(r"field:([^;]*?)(\w+)(?:\[\d*\])?;\s*offset:(\d+);\s*size:(\d+);")
OVERRUN: Final = re.compile(r"^(?:overrun|dropped events): (\d+)", re.MULTILINE)
_libc = ctypes.CDLL(None, use_errno=True)


class Format(NamedTuple):
    """What an event looks like: its number, and each field's offset and size in bytes."""

    number: int
    fields: dict[str, tuple[int, int]]


def parse_format(text: str) -> Format:
    """Read events/GROUP/NAME/format. Raises ValueError."""
    number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    if number is None:
        raise ValueError("a trace event's format without a number")
    return Format(int(number[1]), {name: (int(at), int(size)) for _, name, at, size in FIELD.findall(text)})


class Tracefs:
    """An open tracefs. Raises MissingFacility, NotPermitted, OSError."""

    def __init__(self) -> None:
        self.fd = _opened()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def text(self, path: str) -> str:
        """A file's text, bounded."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return os.read(fd, MOST_FILE).decode("utf-8", "replace")
        finally:
            os.close(fd)

    def format(self, event: str) -> Format:
        """The format of "group/name". Raises MissingFacility when the kernel has no such event."""
        try:
            return parse_format(self.text(f"events/{event}/format"))
        except FileNotFoundError as error:
            raise MissingFacility(f"the kernel has no trace event {event} (CONFIG_FTRACE_SYSCALLS)") from error

    def names(self, path: str) -> list[str]:
        """The entries of a folder."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)


def _opened() -> int:
    for place in PLACES:
        with suppress(OSError):
            if Path(place, "events").is_dir():
                return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kind = _call(FSOPEN, b"tracefs", ctypes.c_uint(1))
        try:
            _call(FSCONFIG, ctypes.c_int(kind), ctypes.c_uint(CREATE), None, None, ctypes.c_int(0))
            return _call(FSMOUNT, ctypes.c_int(kind), ctypes.c_uint(1), ctypes.c_uint(0))
        finally:
            os.close(kind)
    except PermissionError as error:
        raise NotPermitted("tracefs is not mounted, and may not be; run gotriage as root (sudo)") from error
    except OSError as error:
        raise MissingFacility(f"the kernel has no tracefs, or it cannot be mounted: {error.strerror}") from error


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class Instance:
    """A set of buffers of our own with its own events, until `close`. Raises as `Tracefs`."""

    live: ClassVar[set[Instance]] = set()
    """Those of this process."""

    def __init__(self, tracefs: Tracefs, *, kilobytes: int = 1024, label: str = "") -> None:
        """`kilobytes` of buffer for each CPU; `label`, a few letters, tells two instances of one maker apart."""
        self._tracefs = tracefs
        self.name = f"{own_name()}{label}"
        self._path = f"instances/{self.name}"
        self._readers: list[int] = []
        try:
            os.mkdir(self._path, 0o700, dir_fd=tracefs.fd)
        except FileExistsError:
            _remove(tracefs, self.name)
            os.mkdir(self._path, 0o700, dir_fd=tracefs.fd)
        self.live.add(self)
        try:
            self.write("tracing_on", "0")
            self.write("buffer_size_kb", str(kilobytes))
        except BaseException:
            self.close()
            raise

    def write(self, path: str, text: str, *, more: bool = False) -> None:
        """Write a file of the instance; `more` adds to what is there."""
        how = os.O_WRONLY | os.O_CLOEXEC | (os.O_APPEND if more else os.O_TRUNC)
        fd = os.open(f"{self._path}/{path}", how, dir_fd=self._tracefs.fd)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def only(self, tids: Sequence[int]) -> None:
        """Events of these threads alone, and of threads that they start."""
        self.write("options/event-fork", "1")
        self.write("set_event_pid", "")
        for start in range(0, len(tids), 256):  # one write may not be longer than a page
            self.write("set_event_pid", " ".join(map(str, tids[start : start + 256])), more=True)

    def pages(self, most: int) -> Iterator[bytes]:
        """The pages of all CPUs' buffers that are there now, at most so many; reading takes them out."""
        if not self._readers:
            folder = f"{self._path}/per_cpu"
            for name in sorted(self._tracefs.names(folder)):
                path = f"{folder}/{name}/trace_pipe_raw"
                flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                self._readers.append(os.open(path, flags, dir_fd=self._tracefs.fd))
        left = most
        for reader in self._readers:
            while left > 0:
                try:
                    page = os.read(reader, PAGE)
                except BlockingIOError:
                    break
                if not page:
                    break
                left -= 1
                yield page

    def lost(self) -> int:
        """Events that had no room."""
        total = 0
        folder = f"{self._path}/per_cpu"
        for name in self._tracefs.names(folder):
            total += sum(map(int, OVERRUN.findall(self._tracefs.text(f"{folder}/{name}/stats"))))
        return total

    def close(self) -> bool:
        """Take it away; whether it is gone. May be called twice."""
        while self._readers:
            os.close(self._readers.pop())
        gone = _remove(self._tracefs, self.name)
        if gone:
            self.live.discard(self)
        return gone


def leave() -> None:
    """The process is about to end, in whatever its threads do: take its instances away. Never raises."""
    for instance in list(Instance.live):
        for _ in range(TRIES):
            with suppress(OSError):
                if instance.close():
                    break
            clock.sleep(0.01)  # another thread is just reading


def own_name() -> str:
    """What our instances are called: who made them, so that leftovers can be told."""
    return f"{PREFIX}{os.getpid()}-{Proc().stat(os.getpid()).start_ticks}-{_namespace()}"


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _remove(tracefs: Tracefs, name: str) -> bool:
    """Whether it is gone; one that somebody else reads stays, but without events."""
    path = f"instances/{name}"
    for file in ("events/enable", "tracing_on"):
        with suppress(OSError):
            fd = os.open(f"{path}/{file}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=tracefs.fd)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)
    try:
        os.rmdir(path, dir_fd=tracefs.fd)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def sweep() -> list[str]:
    """Take away what earlier gotriages of our PID namespace left when they were killed; the names. Never raises."""
    removed = []
    with suppress(GotriageError, OSError), Tracefs() as tracefs:
        own = _namespace()
        for name in tracefs.names("instances"):
            match = NAME.match(name)
            if match is None or int(match[3]) != own or _alive(int(match[1]), int(match[2])):
                continue
            if _remove(tracefs, name):
                removed.append(name)
    return removed


_once = threading.Lock()


def sweep_once() -> None:
    """`sweep`, the first time that this process asks for it."""
    if _once.acquire(blocking=False):
        sweep()


def _alive(pid: int, start_ticks: int) -> bool:
    try:
        return Proc().stat(pid).start_ticks == start_ticks
    except (GotriageError, OSError, ValueError):
        return False
