"""A shell or a command in namespaces of a process; ours stay as they are, and nothing stays behind.

A child joins the namespaces, its child (a PID namespace holds for children only) becomes the program. The program is
always one of this machine: of its own files where the mount namespace is not asked for, else the busybox of `toolview`.
"""

from __future__ import annotations

import errno
import os
import signal
import termios
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from gotriage.errors import AS_ROOT, GotriageError, MissingFacility, NotPermitted, TargetGone
from gotriage.host import mounting, privilege, toolview
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

JOINED: Final = ("cgroup", "ipc", "uts", "net", "time", "pid")
"""Namespaces that are simply joined, in this order; `mnt` and `user` are not that simple."""
KINDS: Final = (*JOINED, "mnt", "user")
NOT_FOUND, NOT_RUN = 127, 126
"""Exit statuses of a command that is not there, or cannot be run, as shells have them."""
MOST: Final = 4096
ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
PATIENCE: Final = 1
"""Seconds that the program has to end when gotriage is ended."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What to do.

    Attributes:
        pid: of the target.
        alive: whether that is still the target.
        kinds: the namespaces to join; those that we are in already are left out.
        program: absolute path, on this machine or in the view with `mnt`; `words`: with its name before.
        interactive: it is a shell at the terminal: it gets that, and job control.
    """

    pid: int
    alive: Callable[[], bool]
    kinds: Sequence[str]
    program: str
    words: Sequence[str]
    environment: Mapping[str, str]
    interactive: bool = False


def other_kinds(pid: int, kinds: Sequence[str]) -> list[str]:
    """Of the kinds those that are not the namespaces we are in, and those that cannot be compared.

    Raises NotPermitted, TargetGone.
    """
    found = []
    for kind in kinds:
        try:
            theirs = os.readlink(f"/proc/{pid}/ns/{kind}")
        except PermissionError:
            raise NotPermitted(f"the namespaces of pid {pid}: permission denied; {AS_ROOT}") from None
        except OSError:
            if not os.path.isdir(f"/proc/{pid}"):
                raise TargetGone(f"pid {pid} is gone") from None
            continue  # a kind that this kernel does not have
        if theirs != os.readlink(f"/proc/self/ns/{kind}"):
            found.append(kind)
    return found


def run(entry: Entry) -> int:
    """Enter, run, wait. The exit status of the program, 128 + N for signal N.

    Raises TargetGone, NotPermitted, MissingFacility, OSError with what could not be entered.
    """
    kinds = other_kinds(entry.pid, [kind for kind in KINDS if kind in entry.kinds])
    given = toolview.Tools() if "mnt" in entry.kinds else None
    fds: dict[str, int] = {}
    try:
        for kind in {*kinds, *(("mnt",) if given else ())}:
            fds[kind] = os.open(f"/proc/{entry.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        if given:
            fds["root"] = os.open(f"/proc/{entry.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not entry.alive():
            raise TargetGone(f"pid {entry.pid} has ended")
        return _forked(entry, fds, given)
    except PermissionError as error:
        raise NotPermitted(f"{error.filename}: permission denied; {AS_ROOT}") from None
    finally:
        for fd in fds.values():
            os.close(fd)


def _forked(entry: Entry, fds: dict[str, int], given: toolview.Tools | None) -> int:
    heard, told = os.pipe2(os.O_CLOEXEC)
    with terminal_kept(entry.interactive), _ending_with_us() as children:
        try:
            parent = os.getpid()
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until somebody knows whom to tell
            pid = os.fork()
            if pid == 0:
                _be_inside(entry, fds, given, told, parent)
            children.append(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            os.close(told)
        try:
            said = _heard(heard)
        finally:
            os.close(heard)
            status = os.waitpid(pid, 0)[1]
    if said:
        raise _error(said)
    return _exit_status(status)


def _heard(fd: int) -> bytes:
    """What went wrong before the program ran; empty once it does."""
    parts = b""
    while len(parts) < MOST and (data := os.read(fd, MOST)):
        parts += data
    return parts


def _error(said: bytes) -> Exception:
    kind, _, text = said.decode("utf-8", "replace").partition("\n")
    if kind == "permission":
        return NotPermitted(f"{text}: not permitted" + ("" if privilege.is_root() else f"; {AS_ROOT}"))
    return MissingFacility(text)


def _exit_status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


@contextmanager
def terminal_kept(interactive: bool) -> Iterator[None]:
    """What the program changes of the terminal is undone; keys that end it do not end us."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    state = None
    if interactive:
        with suppress(termios.error):
            state = termios.tcgetattr(0)
    try:
        yield
    finally:
        if state is not None:
            tty_out = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            with suppress(OSError, termios.error):
                os.tcsetpgrp(0, os.getpgrp())
                termios.tcsetattr(0, termios.TCSADRAIN, state)
            signal.signal(signal.SIGTTOU, tty_out)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ending_with_us() -> Iterator[list[int]]:
    """When we are to end, so are these children, and we wait for that: the terminal is theirs until then."""
    children: list[int] = []

    def end(_: int, __: object) -> None:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in ENDING}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- in the child: nothing is imported, looked up by name, or resolved from here on


def _be_inside(entry: Entry, fds: dict[str, int], given: toolview.Tools | None, told: int, parent: int) -> NoReturn:
    """Join, fork, wait, end as the program ended."""
    status = NOT_RUN
    try:
        privilege.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(status)
        tree = _join(fds)
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_program(entry, fds, tree, given, told, me)
        os.close(told)
        _pass_on(pid)
        status = _wait(pid)
    except BaseException as error:
        _tell(told, error)
    finally:
        os._exit(status)


def _join(fds: dict[str, int]) -> int | None:
    """All namespaces but that of users, which root joins last; a copy of the target's mounts where that was asked."""
    if "user" in fds and not privilege.is_root():  # whoever made it has every right there, and needs it for the others
        mounting.setns(fds.pop("user"), "user")
    tree = _copied(fds["mnt"], fds["root"]) if "root" in fds else None
    for kind in JOINED:
        if kind in fds:
            mounting.setns(fds[kind], kind)
    return tree


def _copied(namespace: int, root: int) -> int:
    """The mounts below the target's root, copied there and carried out; we are back in our own root afterwards."""
    ours = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    base = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounting.setns(namespace, "mnt")
    try:
        return mounting.cloned_tree(root)
    finally:
        mounting.setns(ours, "mnt")
        os.fchdir(base)
        os.chroot(".")
        os.close(ours)
        os.close(base)


def _pass_on(pid: int) -> None:
    """What ends us ends the program: it hears that its terminal goes, and is killed when it does not listen."""

    def end(number: int, _: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if number == signal.SIGALRM else signal.SIGHUP)
        signal.alarm(PATIENCE)

    for number in (signal.SIGALRM, *ENDING):
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _wait(pid: int) -> int:
    """Until the program ends; a shell that stops itself goes on, for nobody could wake it."""
    while True:
        status = os.waitpid(pid, os.WUNTRACED)[1]
        if not os.WIFSTOPPED(status):
            return _exit_status(status)
        if os.getpgid(pid) != os.getpgrp():
            os.kill(pid, signal.SIGCONT)


def _be_program(
    entry: Entry, fds: dict[str, int], tree: int | None, given: toolview.Tools | None, told: int, parent: int
) -> NoReturn:
    try:
        if tree is not None and given is not None:
            toolview.enter(tree, given)
            os.chdir(f"/{toolview.TARGET}")
        elif "pid" in fds:
            mounting.own_namespace()
            toolview.own_proc()
        if "user" in fds:
            _join_users(fds["user"])
        privilege.die_with_parent(signal.SIGHUP)
        if os.getppid() not in (0, parent):  # 0: the parent is outside of our PID namespace
            os._exit(NOT_RUN)
        if entry.interactive:
            _take_terminal()
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTTOU, signal.SIGPIPE, *ENDING):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        os.execve(entry.program, [*entry.words], dict(entry.environment))
    except OSError as error:
        if error.filename == entry.program:
            _refuse(entry, error, inside=tree is not None)
        _tell(told, error)
    except BaseException as error:
        _tell(told, error)
    os._exit(NOT_RUN)


def _join_users(fd: int) -> None:
    """The target's user namespace, as its root where it has one."""
    mounting.setns(fd, "user")
    with suppress(OSError):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _take_terminal() -> None:
    """A process group of its own, in the foreground: its keys are its own, and it can have jobs."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())


def _refuse(entry: Entry, error: OSError, *, inside: bool) -> NoReturn:
    """As a shell says that it cannot run something."""
    text, status = f"{entry.program}: {error.strerror}", NOT_RUN
    if error.errno == errno.ENOENT:
        status = NOT_FOUND
        if inside and entry.program.startswith("/bin/"):
            text = f"busybox has no {entry.words[0]}; without mnt in --ns this machine's programs are there"
    os.write(2, f"gotriage: {clean(text)}\n".encode("utf-8", "replace"))
    os._exit(status)


def _tell(told: int, error: BaseException) -> None:
    """One line for the parent."""
    if isinstance(error, OSError):
        kind = "permission" if error.errno in (errno.EPERM, errno.EACCES) else "other"
        text = str(error.filename or "") if kind == "permission" else f"{error.filename}: {error.strerror}"
    else:
        kind, text = "other", str(error) if isinstance(error, GotriageError) else type(error).__name__
    with suppress(OSError):
        os.write(told, f"{kind}\n{text}".encode("utf-8", "replace")[:MOST])
