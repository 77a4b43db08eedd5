"""Two processes and their small parent: the agent keeps root and knows no screen, the front gives root away first.

The parent starts agents and passes their pipes to the front; it parses one byte from the front and nothing else. When
the front ends, so does the agent; when the parent is killed, both end (PR_SET_PDEATHSIG, and the closing pipes). On
request it starts `gotriage shell` for its own target, never one that the front names (host.again).
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gotriage.errors import (
    EXIT_MISSING,
    EXIT_NOT_INSPECTED,
    EXIT_NOT_PERMITTED,
    EXIT_OK,
    EXIT_USAGE,
    GotriageError,
    MissingFacility,
)
from gotriage.host import citizen, clock, privilege, tracefs
from gotriage.session import control
from gotriage.session.control import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import FrameType

    from gotriage.records.target import TargetSpec
    from gotriage.session.link import Link

FINAL = (EXIT_OK, EXIT_NOT_INSPECTED, EXIT_USAGE, EXIT_MISSING, EXIT_NOT_PERMITTED)
"""Exit statuses with which an agent has said all that it had to say."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the first, second ... restart in a row; the last one holds from then on."""
STEADY = 60.0
"""An agent that lived so long begins the row anew."""
EXIT_BROKEN = 70
"""EX_SOFTWARE of sysexits.h: the agent has an error of its own."""
MOST_RESTARTS = 20
"""Restarts in a row after which no more is tried."""
GRACE = 1.0
"""Seconds that the agent has to end by itself once the front has gone."""
NO_PROCESS = "no process can be started: the limit of processes is reached (pids.max of the cgroup, ulimit -u)"
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
LEFT_TO_THE_FRONT = (signal.SIGINT, signal.SIGQUIT)
"""The terminal sends these to the whole job; the front decides what they mean."""


def launch(
    spec: TargetSpec,
    front: Callable[[Link], int],
    *,
    sources: Collection[str] | None = None,
    agent: Callable[[int, int], int] | None = None,
) -> int:
    """Start an agent for the target and run `front` on its records, as the user who typed the command.

    `sources` names the sources to run (None: all). `agent(read_fd, write_fd)` replaces the agent (tests). The front
    runs in a process of its own, in which this function returns what `front` returns, or raises what it raises; in the
    calling process it returns the front's exit status. Raises MissingFacility when no process can be started.
    """
    return _Parent(agent or _agent_for(spec, sources), spec).run(front)


def _agent_for(spec: TargetSpec, sources: Collection[str] | None) -> Callable[[int, int], int]:
    def agent(read_fd: int, write_fd: int) -> int:
        from gotriage.agent.main import serve
        from gotriage.host import Host

        return serve(spec, Host.of(spec.root_pid), read_fd, write_fd, sources, launcher=os.getppid())

    return agent


@dataclass(slots=True)
class _Child:
    """The agent of now. `pid` None: none runs."""

    pid: int | None = None
    started: float = 0.0
    row: int = 0
    again_at: float | None = None
    stuck: bool = False
    fds: list[int] = field(default_factory=list)


class _Parent:
    """Waits for signals, for the end of a child, and for the one byte of the front."""

    def __init__(self, agent: Callable[[int, int], int], spec: TargetSpec) -> None:
        self._agent_main, self._spec = agent, spec
        self._shell = 0
        self._agent = _Child()
        self._front = 0
        self._mine, self._theirs = control.pair()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._status: int | None = None

    def run(self, front: Callable[[Link], int]) -> int:
        """In the parent: the front's exit status; in the front: what `front` returns."""
        sys.stdout.flush()
        sys.stderr.flush()
        before = self._catch_signals()
        privilege.adopt_orphans()
        self._start_agent()
        if self._agent.pid is None:
            raise MissingFacility(NO_PROCESS)
        try:
            self._front = os.fork()
        except OSError:
            self._end_agent()
            raise MissingFacility(NO_PROCESS) from None
        if self._front == 0:
            self._restore_signals(before)
            return self._be_front(front)
        self._theirs.close()
        self._hand_over()
        try:
            while self._status is None:
                self._wait()
        finally:
            self._end_agent()
            self._restore_signals(before)
        return self._status

    # -- signals

    def _catch_signals(self) -> dict[int, object]:
        before: dict[int, object] = {}
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *PASSED_ON, *LEFT_TO_THE_FRONT):
            before[number] = signal.signal(number, self._signalled)
        return before

    def _signalled(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the shape of a handler
        if number in PASSED_ON and self._front:
            with suppress(ProcessLookupError):
                os.kill(self._front, number)

    @staticmethod
    def _restore_signals(before: dict[int, object]) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    # -- the three processes

    def _be_front(self, front: Callable[[Link], int]) -> int:
        for fd in (*self._agent.fds, self._woken, self._waker):
            os.close(fd)
        self._mine.close()
        parent = os.getppid()
        citizen.die_first(citizen.FRONT_SCORE)
        privilege.drop_to(privilege.invoker())
        privilege.die_with_parent(signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
        from gotriage.session.link import Link

        link = Link(self._theirs)
        try:
            return front(link)
        finally:
            link.close()

    def _start_agent(self) -> None:
        parent = os.getpid()
        fds: list[int] = []
        try:
            fds += os.pipe()
            fds += os.pipe()
            pid = os.fork()
        except OSError:
            for fd in fds:
                os.close(fd)
            self._plan_restart()
            return
        requests_in, requests_out, records_in, records_out = fds
        if pid == 0:
            signal.set_wakeup_fd(-1)
            _be_agent(self._agent_main, requests_in, records_out, parent)
        os.close(requests_in)
        os.close(records_out)
        agent = self._agent
        agent.pid, agent.started, agent.again_at, agent.stuck = pid, clock.monotonic(), None, False
        agent.fds = [records_in, requests_out]

    def _hand_over(self) -> None:
        """Give the agent's pipes to the front, and keep none."""
        with suppress(OSError):
            control.send(self._mine, Message("agent", fds=tuple(self._agent.fds)))
        for fd in self._agent.fds:
            os.close(fd)
        self._agent.fds = []

    # -- waiting

    def _wait(self) -> None:
        again = self._agent.again_at
        timeout = max(0.0, again - clock.monotonic()) if again is not None else None
        ready, _, _ = select.select([self._woken, self._mine.fileno()], [], [], timeout)
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        if self._mine.fileno() in ready:
            self._hear()
        self._reap()
        if self._status is None and again is not None and clock.monotonic() >= again:
            self._start_agent()
            if self._agent.pid is not None:
                self._hand_over()

    def _hear(self) -> None:
        """The one byte of the front: its agent hangs, or a shell is wanted."""
        try:
            asked = self._mine.recv(1)
        except OSError:
            asked = b""
        if asked == control.RESTART:
            if self._agent.pid is not None:
                self._agent.stuck = True
                with suppress(ProcessLookupError):
                    os.kill(self._agent.pid, signal.SIGKILL)
        elif asked in (control.SHELL, control.VIEW):
            self._start_shell(asked)
        elif asked == control.END:
            self._end_shell()
        else:
            # The front has closed its end; it is about to exit, or already has.
            self._status = _status(os.waitpid(self._front, 0)[1])

    def _reap(self) -> None:
        """What became of the children, orphans of a killed agent included."""
        while self._status is None:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                if pid == self._front:
                    self._stop_with_the_front()
            elif pid == self._front:
                self._status = _status(status)
            elif pid == self._shell:
                self._shell = 0
                self._tell(Message("shell", _status(status)))
            elif pid == self._agent.pid:
                self._agent.pid = None
                self._agent_ended(status)

    def _stop_with_the_front(self) -> None:
        """The shell sees the job stop (Ctrl-Z) and goes on with it."""
        os.kill(os.getpid(), signal.SIGSTOP)
        with suppress(ProcessLookupError):
            os.kill(self._front, signal.SIGCONT)

    def _start_shell(self, asked: bytes) -> None:
        """At the terminal, which the front has left. One at a time."""
        if self._shell:
            return
        from gotriage.host import again

        kinds = ["--ns", "all"] if asked == control.VIEW else []
        try:
            self._shell = again.start(["shell", *self._spec.words(), *kinds])
        except (GotriageError, OSError) as error:
            self._tell(Message("shell", EXIT_MISSING, str(error)))

    def _end_shell(self) -> None:
        if self._shell:
            with suppress(ProcessLookupError):
                os.kill(self._shell, signal.SIGTERM)

    # -- the agent's end

    def _agent_ended(self, status: int) -> None:
        _end_helpers()
        if os.WIFSIGNALED(status):
            tracefs.sweep()
        code = _status(status)
        if code in FINAL:
            self._tell(Message("over", code, "the agent has ended"))
            return
        if clock.monotonic() - self._agent.started > STEADY:
            self._agent.row = 0
        self._plan_restart()
        if self._agent.again_at is None:
            self._tell(Message("over", EXIT_NOT_INSPECTED, f"the agent {_how(status)} again and again"))
        else:
            how = "hung and was ended" if self._agent.stuck else _how(status)
            self._tell(Message("died", code, f"the agent {how}; it is started anew"))

    def _plan_restart(self) -> None:
        agent = self._agent
        pause = PAUSES[min(agent.row, len(PAUSES) - 1)]
        agent.row += 1
        agent.again_at = clock.monotonic() + pause if agent.row <= MOST_RESTARTS else None

    def _tell(self, message: Message) -> None:
        with suppress(OSError):
            control.send(self._mine, message)

    def _end_agent(self) -> None:
        """The front is gone, so the request pipe is closed: wait a moment for the agent to end, then end it."""
        for fd in self._agent.fds:
            os.close(fd)
        self._agent.fds = []
        self._mine.close()
        self._end_shell()
        until = clock.monotonic() + GRACE
        pid = self._agent.pid
        while pid is not None and clock.monotonic() < until and not _gone(pid):
            clock.sleep(0.01)
        forced = pid is not None and not _gone(pid)
        if forced and pid is not None and citizen.end_all([pid]):
            say = f"gotriage: the agent (pid {pid}) was ended, but waits in the kernel for a file system that hangs\n"
            sys.stderr.write(say)
        _end_helpers()
        if forced:
            tracefs.sweep()


def _end_helpers() -> None:
    """What a killed agent left behind; what the front started is the user's."""
    citizen.end_all(citizen.helpers_of_dead_agent(os.getpid(), citizen.AGENT_SCORE))


def _be_agent(main: Callable[[int, int], int], read_fd: int, write_fd: int, parent: int) -> None:
    """The rest of this process's life. Never returns."""
    status = EXIT_BROKEN
    try:
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _end_with_helpers)
        privilege.die_with_parent(signal.SIGTERM)
        os.chdir("/")
        os.umask(0o077)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        _close_all_but(0, 1, 2, read_fd, write_fd)
        citizen.die_first(citizen.AGENT_SCORE)
        citizen.yield_cpu(citizen.AGENT_NICE)
        citizen.yield_disk()
        citizen.few_arenas()
        if os.getppid() == parent:
            status = main(read_fd, write_fd)
    except Exception as error:  # supervised boundary: said in the stream, and the parent starts another one
        _say_broken(write_fd, error)
    finally:
        # No clean-up of the interpreter: a source that hangs must not keep the agent.
        citizen.end_all(citizen.children(os.getpid()))
        os._exit(status)


def _say_broken(fd: int, error: Exception) -> None:
    """The last record of an agent with an error of its own: what, and where in our code."""
    from gotriage.records.stream import Gap
    from gotriage.session.stream import encode

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    reason = f"internal error of the agent: {type(error).__name__}{place}"
    with suppress(OSError):
        os.write(fd, encode(Gap(at=clock.now(), source="agent.error", reason=reason)))


def _close_all_but(*kept: int) -> None:
    """Close what the caller's shell left open, and what only the parent needs."""
    below = -1
    for fd in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        if below + 1 < fd:
            os.closerange(below + 1, fd)
        below = fd


def _end_with_helpers(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the shape of a handler
    """SIGTERM, also when the parent was killed: no helper stays behind, and no trace instance."""
    citizen.end_all(citizen.children(os.getpid()))
    tracefs.leave()
    os._exit(128 + number)


def _gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _status(status: int) -> int:
    """A wait status as a shell would give it: the exit code, or 128 + the signal."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"failed (status {os.WEXITSTATUS(status)})"
