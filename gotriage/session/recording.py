"""The stream in a file: a recording, or a short one, a snapshot. NAME.gts.jsonl.zst, docs/stream.md.

Each `write` is one zstd frame with its size and checksum; when it has returned, the kernel has the bytes, and killing
gotriage loses nothing. A power failure loses the last SYNC seconds at most.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from gotriage.errors import BadRecording, NotPermitted, NotWritten, UsageError
from gotriage.host import citizen, clock
from gotriage.records.logs import LogLines, OomKill
from gotriage.records.stream import End, Gap, Header
from gotriage.records.target import Event
from gotriage.session import frames
from gotriage.session.redact import Redactor
from gotriage.session.store import Session
from gotriage.session.stream import Decoder, Report, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from gotriage.records import Record

LEVEL = 3
FLUSH = 1.0
"""Seconds that `add` holds records back at most, to make one frame of them."""
SYNC = 5.0
"""Seconds between two fdatasync(2) at most."""
FRAME = 4 * 1024 * 1024
"""Bytes of text from which on a new frame begins; a longer line has a frame of its own."""
SYNCED = (Event, Gap, OomKill, End)
"""Records that are synced to the disk at once: what happened just before the machine went down."""
MOST_MEMORY, LEAST_MEMORY = 2 * 1024 * 1024 * 1024, 256 * 1024 * 1024
"""Bytes that a recording may take when it is opened: a file of some KB can unpack to gigabytes."""
SNAPSHOT_FRAME, SNAPSHOT_RECORDS = 256 * 1024, 50
"""Bytes of text and records of a snapshot's frame at most, in a short one fewer: what damage or a cut takes away.
Smaller frames make larger files."""
CHECK = 4 * 1024 * 1024
"""Bytes of text between two looks at the memory taken."""
BATCH = 1000
"""Log lines in one record of a snapshot."""


class Writer:
    """Writes records to a new file; a context manager that ends the file with an End.

    Attributes:
        path: where; "-" is standard output.
        records, size: how many records and bytes the kernel has taken.
    """

    def __init__(self, path: str | os.PathLike[str], *, redact: bool = True) -> None:
        """Make the file, for the user alone (0600).

        Raises UsageError when something has that name, NotPermitted, NotWritten.
        """
        self.path = os.fspath(path)
        self.records = 0
        self.size = 0
        self._redactor = Redactor() if redact else None
        self._pack = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
        self._fd = _create(self.path)
        self._held: list[bytes] = []
        self._held_size = 0
        self._due = clock.monotonic() + FLUSH
        self._synced = clock.monotonic()
        self._urgent = False
        self._end: End | None = None
        self._broken = False

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._end = End(at=clock.now(), reason=f"stopped: {str(error) or type(error).__name__}"[:500])
        if not self._broken:
            self.close()

    def write(self, *records: Record) -> None:
        """Write them now, as one frame. Raises NotWritten; what was written before stays readable."""
        for record in records:
            self._hold(record)
        self._flush()

    def add(self, record: Record) -> None:
        """Take a record that will be written within FLUSH seconds as long as others come. Raises NotWritten."""
        self._hold(record)
        if self._urgent or clock.monotonic() >= self._due:
            self._flush()

    def pack(self, record: Record) -> None:
        """Take a record of a snapshot: frames of moderate size, and no sync for what it is about. Raises NotWritten."""
        urgent = self._urgent
        self._hold(record, SNAPSHOT_FRAME)
        self._urgent = urgent
        if isinstance(record, Header) or len(self._held) >= min(SNAPSHOT_RECORDS, max(4, self.records // 8)):
            self._flush()

    def close(self) -> None:
        """Write what is held and the End, and close the file. Raises NotWritten."""
        if self._fd < 0:
            return
        try:
            end: Record = self._end or End(at=clock.now(), reason="closed")
            if self._redactor:
                end = self._redactor.apply(end)
            self._keep(encode(end))
            self._urgent = True
            self._flush()
        finally:
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _hold(self, record: Record, frame: int = FRAME) -> None:
        if isinstance(record, End):
            # The stream's own end is the file's: nothing follows it, and it says what was masked.
            self._end = record
            return
        self._urgent = self._urgent or isinstance(record, SYNCED)
        self._keep(encode(self._redactor.apply(record) if self._redactor else record), frame)

    def _keep(self, line: bytes, frame: int = FRAME) -> None:
        if self._held and self._held_size + len(line) > frame:
            self._flush()
        self._held.append(line)
        self._held_size += len(line)

    def _flush(self) -> None:
        self._due = clock.monotonic() + FLUSH
        if not self._held:
            return
        if self._fd < 0:
            raise NotWritten(f"{self.path}: it is closed")
        frame, count = self._pack.compress(b"".join(self._held)), len(self._held)
        self._held, self._held_size = [], 0
        try:
            _write_all(self._fd, frame)
            if self._urgent or clock.monotonic() - self._synced >= SYNC:
                self._sync()
        except OSError as error:
            self._give_up(error)
        self.size += len(frame)
        self.records += count

    def _sync(self) -> None:
        self._urgent, self._synced = False, clock.monotonic()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOSYS):  # not a file: a pipe, a terminal
                raise

    def _give_up(self, error: OSError) -> None:
        """Cut the half frame off, so that what stands is whole, and say what happened."""
        self._broken = True
        with suppress(OSError):
            if self.size:
                os.ftruncate(self._fd, self.size)
            elif self.path != "-":
                Path(self.path).unlink()
        self._close()
        kept = f"; the {self.records} records written before stay readable" if self.records else ""
        raise NotWritten(f"{self.path}: {error.strerror or error}{kept}") from error


def _create(path: str) -> int:
    if path == "-":
        return os.dup(1)
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists already, and gotriage overwrites nothing: name another file") from None
    except PermissionError as error:
        raise NotPermitted(f"{path}: {error.strerror} for uid {os.geteuid()}: name a file elsewhere") from None
    except OSError as error:
        raise NotWritten(f"{path}: {error.strerror}: name a file elsewhere") from None


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def save(session: Session, path: str | os.PathLike[str], *, redact: bool = True) -> Writer:
    """Everything that the session holds, as a snapshot; returns the closed writer with its figures.

    Raises what `Writer` raises; a file that could not be finished is removed.
    """
    writer = Writer(path, redact=redact)
    try:
        with writer:
            for record in _whole(session):
                writer.pack(record)
    except NotWritten:
        if writer.path != "-":
            with suppress(OSError):
                Path(writer.path).unlink()
        raise
    return writer


def _whole(session: Session) -> Iterator[Record]:
    """Headers first, because a stream begins so, then all records in time order, then the log lines."""
    headers = session.records_of(Header)
    yield from headers or [Header(at=session.first or clock.now())]
    for record in session.everything():
        if not isinstance(record, (Header, End)):
            yield record
    first = session.first or clock.now()
    for chunk in session.logs.chunks:
        for start in range(0, len(chunk), BATCH):
            rows = tuple(chunk.line(row) for row in range(start, min(start + BATCH, len(chunk))))
            yield LogLines(at=max(rows[-1].at, first), rows=rows)


class Reader:
    """The records of a file, a pipe or standard input; iterate once.

    Attributes:
        report: what was met besides records; complete when the iteration has ended.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        """A path ("-" is standard input) or a descriptor, which is closed in the end."""
        self._source = source
        self._decoder = Decoder()

    @property
    def report(self) -> Report:
        """What was met besides records."""
        return self._decoder.report

    def __iter__(self) -> Iterator[Record]:
        """Raises BadRecording when it is none, or none that this version reads, and OSError."""
        fd = self._source if isinstance(self._source, int) else open_file(self._source)
        report, begun = self.report, False
        try:
            for line in frames.lines(fd):
                record = self._decoder.decode(line)
                if not begun and line.strip() and not isinstance(record, Header):
                    raise BadRecording(_headless(line))
                if record is not None:
                    begun = True
                    yield record
        except frames.Cut:
            report.cut = True
        except frames.Foreign as error:
            if not begun:
                raise BadRecording(f"not a gotriage recording: {error}") from None
            report.damage = str(error)
        except frames.Damaged as error:
            report.damage = str(error)
        except BadRecording as error:
            if not begun:
                raise
            report.damage = str(error)
        finally:
            os.close(fd)
        if not begun:
            raise BadRecording(_nothing(report))
        report.cut = report.cut or (not report.ended and not report.damage)


def _headless(line: bytes) -> str:
    """Why the first line is no header: damaged, where it has a header's marks, else of something else."""
    if any(mark in line[:4096] for mark in (b'"kind":"header"', b'"schema":', b'"boot_id":')):
        return "damaged: its header cannot be read"
    return "not a gotriage recording: it does not begin with a header"


def _nothing(report: Report) -> str:
    if report.damage:
        return f"damaged from its beginning on: {report.damage}"
    return "cut before the first record" if report.cut else "not a gotriage recording: it is empty"


def open_file(path: str | os.PathLike[str]) -> int:
    """A descriptor of the file; "-" is standard input. Raises OSError."""
    return os.dup(0) if os.fspath(path) == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def read(source: str | os.PathLike[str] | int) -> Iterable[Record]:
    """The records of a file. Raises BadRecording and OSError."""
    return Reader(source)


def load(source: str | os.PathLike[str] | int, name: str = "") -> tuple[Session, Report]:
    """The session in a file, and what the user should know about it.

    `name` is what an error calls a descriptor. Raises BadRecording and OSError.
    """
    session, reader = Session(bounded=False), Reader(source)
    report, checked = reader.report, 0
    allowed = (citizen.rss_bytes() or 0) + max(LEAST_MEMORY, citizen.room(MOST_MEMORY))
    try:
        for record in reader:
            session.feed(record)
            if report.bytes - checked > CHECK:
                checked = report.bytes
                if (citizen.rss_bytes() or 0) > allowed:
                    report.damage = f"it takes more than {allowed >> 20} MiB of memory"
                    break
    except BadRecording as error:
        called = name if isinstance(source, int) else os.fspath(source)
        raise BadRecording(f"{called}: {error}" if called else str(error)) from None
    return session, reader.report
