"""The front's end of the stream: records in, requests out, over as many agents as it takes.

Reading and decoding happen inside `poll`, in the thread of whoever calls it; there is no thread here. A front that does
not poll leaves the pipe full, and the agent waits.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from gotriage import __version__
from gotriage.errors import (
    EXIT_MISSING,
    EXIT_NOT_PERMITTED,
    EXIT_USAGE,
    BadRecording,
    GotriageError,
    MissingFacility,
    NotPermitted,
    TargetError,
    UsageError,
)
from gotriage.host import clock
from gotriage.records.stream import End, Gap, Header, Heartbeat, Request
from gotriage.records.target import Event, TargetState
from gotriage.session import control
from gotriage.session.stream import Decoder, Lines, encode_request

if TYPE_CHECKING:
    import socket
    from datetime import datetime

    from gotriage.records import Record
    from gotriage.session.stream import Report

Op = Literal["refresh", "logs", "goroutines", "stacks", "interval", "stop", "price", "start", "finish"]

SILENCE = 5.0
"""Seconds without a heartbeat after which an agent counts as hung."""
FIRST = 20.0
"""Seconds that a new agent may take to its first record: on a machine whose every CPU is busy, Python starts slowly."""
SHELL_TICK = 0.1
"""Seconds between two looks whether the shell has ended."""
READ = 1 << 20
ONE_POLL = 8 << 20
"""Bytes read in one poll at most, so that a flood cannot keep the caller."""
LOST = "everything; the screen shows what was known before"
ERRORS: dict[int, type[GotriageError]] = {
    EXIT_USAGE: UsageError,
    EXIT_MISSING: MissingFacility,
    EXIT_NOT_PERMITTED: NotPermitted,
}


class Link:
    """Records of the agent of now; what happens to the agent itself comes as records too.

    Gap(source="agent") says that it died or hangs, and closes when records flow again; Event("agent-restarted") marks
    that on the timeline; Gap(source="agent.version") says that the two halves are of different versions.

    Attributes:
        report: what the decoder met besides records.
        restarts: how many agents came after the first.
    """

    def __init__(self, control_socket: socket.socket | None = None, read_fd: int = -1, write_fd: int = -1) -> None:
        """Either a control socket, over which the launcher passes the pipes of each agent, or the pipes of the one."""
        self._control = control_socket
        self._in, self._out = read_fd, write_fd
        self._lines, self._decoder = Lines(), Decoder()
        self._ready: deque[Record] = deque()
        self._lock = threading.Lock()
        self._next = 0
        self._silent = 0.0
        self._begun = False
        self._down = False
        self._over = False
        self._error: GotriageError | None = None
        self._attached = False
        self._ended = False
        self._shells: SimpleQueue[control.Message] = SimpleQueue()
        self.restarts = 0
        for fd in (read_fd, write_fd):
            if fd >= 0:
                os.set_blocking(fd, False)

    @property
    def report(self) -> Report:
        """What the decoder met besides records."""
        return self._decoder.report

    @property
    def silent(self) -> float:
        """Seconds of polling since the agent was heard last."""
        return self._silent

    # -- reading

    def poll(self, timeout: float) -> list[Record] | None:
        """What came, after waiting at most `timeout` seconds for the first; None at the end of the stream.

        Raises the GotriageError for which the target could not be attached.
        """
        if not self._ready and not self._over:
            self._pump(timeout)
        if self._ready:
            taken = list(self._ready)
            self._ready.clear()
            return taken
        if not self._over:
            return []
        if self._error is not None:
            raise self._error
        return None

    def attach(self, timeout: float) -> bool:
        """Wait until the target is known; False when that takes longer. The records stay for `poll`.

        Raises the GotriageError for which it could not be attached.
        """
        until = clock.monotonic() + timeout
        while not (self._attached or self._over) and (left := until - clock.monotonic()) > 0:
            self._pump(left)
        if self._over and self._error is not None and not self._attached:
            raise self._error
        return self._attached

    def _pump(self, timeout: float) -> None:
        """Wait once and take in what is there."""
        watched = [fd for fd in (self._in, self._control.fileno() if self._control is not None else -1) if fd >= 0]
        if not watched:
            self._over = True
            return
        begun = clock.monotonic()
        ready, _, _ = select.select(watched, [], [], max(0.0, timeout))
        if self._in in ready:
            self._silent = 0.0
            self._read()
        elif self._in >= 0:
            # Only time spent waiting counts: a front that was stopped (Ctrl-Z) has not listened.
            self._silent += min(clock.monotonic() - begun, max(0.0, timeout))
            self._check_silence()
        if self._control is not None and self._control.fileno() in ready:
            self._hear(self._control)

    def _read(self) -> None:
        size = 0
        while size < ONE_POLL:
            try:
                data = os.read(self._in, READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._stream_closed()
                return
            size += len(data)
            try:
                for line in self._lines.feed(data):
                    record = self._decoder.decode(line)
                    if record is not None:
                        self._enter(record)
            except BadRecording as error:
                self._refuse(error)
                return

    def _enter(self, record: Record) -> None:
        if not self._begun:
            self._begin(record)
        if isinstance(record, Header):
            if record.version != __version__:
                self._ready.append(_version_gap(record))
        elif isinstance(record, TargetState):
            self._attached = True
        elif isinstance(record, Heartbeat) and record.collectors:
            self._attached = self._attached or len(record.collectors) > 1
        self._ready.append(record)
        if isinstance(record, End):
            self._finish(record)

    def _finish(self, end: End) -> None:
        if end.exit_code == control.EXIT_AGAIN:
            self._say_down(end.reason)
            return
        self._ended = True
        if end.exit_code and self._attached:
            self._ready.append(Gap(at=end.at, source="agent", reason=end.reason, lost=LOST))
        elif end.exit_code:
            self._error = _error(end.exit_code, end.reason)

    def _begin(self, record: Record) -> None:
        """The first record of an agent."""
        self._begun = True
        if self._down:
            self._down = False
            self._ready.append(Gap(at=record.at, source="agent", closed=True))
        if self.restarts:
            self._ready.append(Event(at=record.at, what="agent-restarted", detail="the agent was started anew"))

    def _refuse(self, error: BadRecording) -> None:
        """The other side does not speak our stream."""
        self._error = MissingFacility(f"the agent's stream: {error}")
        self._over = True
        self.close()

    # -- the agent's life

    def _stream_closed(self) -> None:
        self._close_pipes()
        if self._control is None:
            self._over = True
            if not self._ended:
                self._error = TargetError("the stream was cut: the agent or the connection to it is gone")

    def _check_silence(self) -> None:
        if self._silent < (SILENCE if self._begun else FIRST) or self._ended:
            return
        self._say_down(f"the agent has not answered for {self._silent:.0f} s; it is started anew")
        if self._control is None:
            return
        self._close_pipes()
        with suppress(OSError):
            self._control.send(control.RESTART)

    def _say_down(self, reason: str) -> None:
        if not self._down:
            self._down = True
            self._ready.append(Gap(at=clock.now(), source="agent", reason=reason, lost=LOST))

    def _hear(self, link: socket.socket) -> None:
        """A message of the launcher: a new agent's pipes, or what became of the old one."""
        message = control.receive(link)
        if message is None:
            self._over = True
            self._close_pipes()
            if not self._ended and self._error is None:
                self._error = TargetError("the process that starts the agent is gone")
            return
        if message.what == "agent":
            self._adopt(*message.fds)
        elif message.what == "shell":
            self._shells.put(message)
        elif message.what == "died":
            self._drain()
            self._say_down(message.text)
        else:
            self._drain()
            self._over = True
            if self._error is None and not self._ended:
                self._error = _error(message.code, message.text)

    def _drain(self) -> None:
        """Take what the agent wrote before it ended."""
        if self._in >= 0:
            self._read()
        self._close_pipes()

    def _adopt(self, read_fd: int, write_fd: int) -> None:
        self._close_pipes()
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        if self._begun or self._down:
            self.restarts += 1
        self._lines = Lines()
        self._begun, self._ended, self._silent = False, False, 0.0
        with self._lock:
            self._in, self._out = read_fd, write_fd

    # -- the way back

    def _send(self, line: bytes) -> None:
        if self._out >= 0:
            with suppress(OSError):
                os.write(self._out, line)

    def request(
        self,
        op: Op,
        collectors: tuple[str, ...] = (),
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10_000,
        seconds: float | None = None,
        options: dict[str, str] | None = None,
    ) -> int:
        """Ask the agent; the Reply with the returned id comes with the records. Never waits, and never raises.

        The arguments are the fields of records.stream.Request. While no agent runs the request is lost, without reply.
        """
        with self._lock:
            self._next += 1
            request = Request(self._next, op, collectors, since, until, limit, seconds, options or {})
            self._send(encode_request(request))
            return self._next

    def shell(self, what: bytes) -> control.Message:
        """Have the launcher start a shell, or end it (control.SHELL, VIEW, END), and wait for its end.

        Somebody else polls meanwhile. The terminal has to be free. The message has the exit status, and a text where
        there was none.
        """
        gone = control.Message("shell", EXIT_MISSING, "there is no launcher here that could start a shell")
        link = self._control
        if link is None:
            return gone
        with suppress(OSError):
            link.send(what)
        while True:
            with suppress(Empty):
                return self._shells.get(timeout=SHELL_TICK)
            if self._over and not self._hears_shell(link):  # nobody polls any more
                return gone

    def _hears_shell(self, link: socket.socket) -> bool:
        """Listen a moment; False when the launcher is gone."""
        if link.fileno() < 0:
            return False
        if not select.select([link], [], [], SHELL_TICK)[0]:
            return True
        message = control.receive(link)
        if message is not None and message.what == "shell":
            self._shells.put(message)
        return message is not None

    def close(self) -> None:
        """The agent ends when its request pipe closes."""
        self._over = True
        self._close_pipes()
        if self._control is not None:
            self._control.close()
            self._control = None

    def _close_pipes(self) -> None:
        with self._lock:
            for fd in (self._in, self._out):
                if fd >= 0:
                    with suppress(OSError):
                        os.close(fd)
            self._in = self._out = -1


def _version_gap(header: Header) -> Gap:
    """The two halves are of different versions; they work together as far as each knows the other's words."""
    return Gap(
        at=header.at,
        source="agent.version",
        reason=f"the agent is gotriage {header.version} (stream {header.schema}), this is {__version__}",
        lost="what only one of the two versions knows",
        remedy="install the same version on both sides",
    )


def _error(code: int, text: str) -> GotriageError:
    return ERRORS.get(code, TargetError)(text)
