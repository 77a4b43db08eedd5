"""Lines of strace(1), versions 4.10 to 7: pure functions from text to what it says.

The formats differ little: where comma and space stand around an interruption, octal escapes of angle brackets in paths
since 4.22, "(deleted)" behind the bracket since 5.19, AF_LOCAL for AF_UNIX before 4.21 (tests/fixtures/strace).
Strings come from the target: a file may be named like a result. Hence the arguments are read from the left, strings and
what describes descriptors as units, and never backtracked.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

LONGEST: Final = 16 * 1024
"""Characters of a line that are looked at."""

Kind = Literal["done", "begun", "resumed", "left", "signal", "ended", "note", "unread"]
"""`left`: strace let go of the thread in the call. `note`: what strace says about itself."""


class Line(NamedTuple):
    """One line. `tid` 0: it names none, as with a single thread. `at`: seconds since the epoch, None without."""

    kind: Kind
    tid: int = 0
    at: float | None = None
    call: str = ""
    text: str = ""
    """Arguments; the rest of a resumed call; the words of the others."""
    result: str = ""
    error: str = ""
    words: str = ""
    seconds: float | None = None


class Result(NamedTuple):
    """What stands behind the equals sign."""

    result: str
    error: str = ""
    words: str = ""
    seconds: float | None = None


_LEADER: Final = re.compile(
    r"(?:\[pid +(?P<bracket>\d+)(?:<[^>]*>)?\] +|(?P<tid>\d+)(?:<[^>]*>)? +)?"
    r"(?:(?P<at>\d+\.\d+) +|\d\d:\d\d:\d\d(?:\.\d+)? +)?"
)
_NAME: Final = r"(?P<call>[a-z_][a-z0-9_]*|\?{3,4})"
_MARK: Final = re.compile(r",?\s*(?:<(unfinished|detached)(?: #\d+)? \.\.\.>\)?|strace: Process \d+ attached)$")
_RESUMED: Final = re.compile(r"<\.\.\. " + _NAME.replace("call", "name") + r" resumed(?: #\d+)?> ?")
_BEGIN: Final = re.compile(_NAME + r"\(")
_ARGUMENTS: Final = re.compile(
    r"""(?>(?:
        [^")<]+                                # anything plain
      | "(?>(?:[^"\\]+|\\.)*)(?:"|$)           # a string
      | (?<=\d)<(?>(?:[^<>]|(?<=-)>|<[^<>]*>)*)>   # what a descriptor is; two ends have -> between them
      | (?<=FDCWD)<[^<>]*>
      | <
      | \)(?!\s*=\s(?:\?|-?\d|0x))
    )*)""",
    re.VERBOSE,
)
_DECODED: Final = r"(?:<(?:[^<>]|(?<=-)>|<[^<>]*>)*>(?:\(deleted\))?)?"
_RESULT: Final = re.compile(
    r"\)\s*=\s(?P<result>(?:\?|0x[0-9a-f]+|-?\d+)" + _DECODED + r")"
    r"(?: (?P<error>E[A-Z0-9_]+)(?: \((?P<words>[^()]*(?:\([^()]*\))?[^()]*)\))?)?"
    r"(?P<more>.*?)(?: <(?P<took>\d+\.\d+)>)?$"
)
_RIGHTMOST: Final = re.compile(r"(?P<text>.*)(?P<rest>\)\s*=\s(?:\?|0x[0-9a-f]+|-?\d+).*)$")
_RESTARTED: Final = re.compile(r"<\.\.\. resuming interrupted (?:system )?(?P<call>\w+) \.\.\.>")


def parse_line(line: str) -> Line:
    """What a line says. Never raises."""
    leader = _LEADER.match(line)
    assert leader is not None  # every part of it may be missing
    tid, at = int(leader["bracket"] or leader["tid"] or 0), float(leader["at"]) if leader["at"] else None
    text = line[leader.end() : LONGEST]
    if text.startswith("--- "):
        return Line("signal", tid, at, text=text.strip(" -"))
    if text.startswith("+++ "):
        return Line("ended", tid, at, text=text.strip(" +"))
    resumed = _RESUMED.match(text)
    if resumed is not None:
        return Line("resumed", tid, at, resumed["name"], text[resumed.end() :])
    begin = _BEGIN.match(text)
    if begin is None:
        return Line("note" if _is_note(text) else "unread", tid, at, text=text)
    mark = _MARK.search(text)
    if mark is not None:
        kind: Kind = "left" if mark[1] == "detached" else "begun"
        return Line(
            kind, tid, at, begin["call"], text[begin.end() : mark.start()] + (", " if mark[0][0] == "," else "")
        )
    return parse_call(begin["call"], text[begin.end() :], tid, at)


def parse_call(call: str, text: str, tid: int = 0, at: float | None = None) -> Line:
    """A call that has ended: what stands behind its opening bracket."""
    arguments = _ARGUMENTS.match(text)
    assert arguments is not None
    end = arguments.end()
    found = parse_result(text[end:])
    if found is None:  # a path of before 4.22 with an unescaped bracket, or a call that ended with its process
        right = _RIGHTMOST.match(text)
        found = parse_result(right["rest"]) if right is not None else None
        if found is None or right is None:
            return Line("unread", tid, at, call, text)
        end = right.start("rest")
    mark = _MARK.search(text, 0, end)
    return Line("done", tid, at, call, text[: mark.start() if mark is not None else end].rstrip(", "), *found)


def parse_result(text: str) -> Result | None:
    """From the closing bracket on; None when it is something else."""
    match = _RESULT.match(text)
    if match is None:
        return None
    more = match["more"].strip()
    words = match["words"] or (more[1:-1] if more.startswith("(") and more.endswith(")") else "")
    took = float(match["took"]) if match["took"] else None
    return Result(match["result"], match["error"] or "", words or more.strip("<>"), took)


def parse_restarted(call: str, arguments: str) -> str:
    """The call that restart_syscall(2) goes on with, where strace knows it; it says "read", number 0, where not."""
    match = _RESTARTED.match(arguments) if call == "restart_syscall" else None
    return match["call"] if match is not None and match["call"] not in ("call", "read", "io_setup") else call


def _is_note(text: str) -> bool:
    return text.lstrip().startswith(
        ("strace: ", "Process ", "[ Process ", "<detached", "<unfinished", "<unavailable>", ")")
    )


# -- signals

_SIGNAL: Final = re.compile(r"(?P<signal>SIG\w+|stopped by \w+)(?: \{(?P<info>.*)\}| \((?P<old>.*?)\).*)?")
_CODE: Final = re.compile(r"si_code=(\w+)")
_SENDER: Final = re.compile(r"si_pid=(\d+)")


def parse_signal(text: str) -> tuple[str, str, int | None]:
    """Name, code and sender of a signal line: "SIGURG", "SI_TKILL", 4242."""
    match = _SIGNAL.match(text)
    if match is None:
        return text[:64], "", None
    info = match["info"] or ""
    code, sender = _CODE.search(info), _SENDER.search(info)
    return match["signal"], code[1] if code else match["old"] or "", int(sender[1]) if sender else None


# -- what a call is about

_AT: Final = (
    " openat openat2 newfstatat fstatat64 faccessat faccessat2 mkdirat mknodat unlinkat renameat renameat2 readlinkat"
    " fchmodat fchmodat2 fchownat statx execveat utimensat linkat inotify_add_watch name_to_handle_at open_tree "
)
_PATH: Final = (
    " open creat stat stat64 lstat lstat64 access execve chdir mkdir rmdir unlink chmod chown lchown truncate rename"
    " link symlink readlink statfs mknod utime utimes chroot mount umount2 umount pivot_root swapon getxattr lgetxattr"
    " listxattr setxattr removexattr uselib acct "
)
_STRING: Final = re.compile(r'"((?>(?:[^"\\]+|\\.)*))(?:"(\.\.\.)?|\\?$)')
"""Also one without an end: then there is no other."""
_DESCRIPTOR: Final = re.compile(r"(?P<fd>-?\d+|AT_FDCWD)(?:<(?P<what>(?:[^<>]|(?<=-)>|<[^<>]*>)*)>)?")
_INET: Final = re.compile(
    r"sa_family=AF_INET6?,.*?sin6?_port=htons\((?P<port>\d+)\)"
    r'.*?(?:inet_addr\(|inet_pton\(AF_INET6, )"(?P<ip>[^"]*)"'
)
_UNIX: Final = re.compile(r'sa_family=AF_(?:UNIX|LOCAL|FILE), sun_path=(?P<abstract>@?)"(?P<path>(?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|x[0-9a-f]{2}|.)", re.DOTALL)
_SHORT: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"f": b"\f", b"v": b"\v"}


def parse_where(call: str, arguments: str) -> str:
    """The path, the other end or the descriptor's file that a call is about, "" when it is about none."""
    at = f" {call} " in _AT
    if at or f" {call} " in _PATH:
        folder = _DESCRIPTOR.match(arguments) if at else None
        path = _STRING.search(arguments, folder.end() if folder is not None else 0)
        if path is None:
            return ""
        text = unescaped(path[1]) + ("…" if path[2] else "")
        if folder is not None and folder["what"] and not text.startswith("/"):
            return f"{_descriptor(folder['what'])}/{text}" if text else _descriptor(folder["what"])
        return text
    if "sa_family=" in arguments and (found := _INET.search(arguments)):
        return f"[{found['ip']}]:{found['port']}" if ":" in found["ip"] else f"{found['ip']}:{found['port']}"
    if "sun_path=" in arguments and (found := _UNIX.search(arguments)):
        return found["abstract"] + unescaped(found["path"])
    descriptor = _DESCRIPTOR.match(arguments)
    return _descriptor(descriptor["what"]) if descriptor is not None and descriptor["what"] else ""


def _descriptor(text: str) -> str:
    """What strace writes about a descriptor: a path unescaped, without a device's number."""
    if text.startswith("/"):
        path = re.sub(r"<[^<>]*>$", "", text)
        return unescaped(path)
    return "anon_inode:[eventfd]" if text.startswith("{eventfd-") else text


def unescaped(text: str) -> str:
    """A C string as strace writes it, its bytes as UTF-8."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_byte, text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _byte(match: re.Match[bytes]) -> bytes:
    text = match[1]
    if text[:1] == b"x" and len(text) == 3:
        return bytes([int(text[1:], 16)])
    if text.isdigit():
        return bytes([int(text, 8) & 0xFF])
    return _SHORT.get(text, text)
