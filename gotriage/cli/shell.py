"""`gotriage shell TARGET`: a shell or a command in namespaces of the target; root is kept, which is what it is for."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Final

from gotriage.cli.main import complain
from gotriage.cli.parser import needed_target
from gotriage.errors import MissingFacility, TargetError, UsageError
from gotriage.host import Host, enter, privilege, tools
from gotriage.records.text import clean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gotriage.target.model import Process, Target

DEFAULT: Final = tuple(kind for kind in enter.KINDS if kind not in ("mnt", "user"))
ALIASES: Final = {"network": "net", "mount": "mnt"}
BUSYBOX: Final = "/bin/busybox"
ASH, BASH, SH = ["busybox", "sh"], ["bash", "--norc", "--noprofile"], ["sh"]
SHELLS: Final = (ASH, BASH, SH)
"""What runs when no command is given, by its words."""
_NOT_IN_A_PROMPT: Final = re.compile(r"[^A-Za-z0-9_.@-]+")


def run(arguments: argparse.Namespace) -> int:
    """Enter; the exit status is that of the shell or command."""
    kinds = kinds_of(arguments.ns)
    spec = needed_target(arguments)
    if spec.kind == "core":
        raise UsageError("a core file has no namespaces to enter: shell needs --pid N, --unit NAME or --container REF")
    from gotriage.target.resolve import release, resolve

    target = resolve(spec, Host.of(spec.root_pid))
    try:
        main = target.main
        if main is None:
            raise TargetError(f"{target.name} does not run: {target.reason or 'it has no process'}")
        if (program := _program(arguments.words, inside="mnt" in kinds)) is None:
            complain(f"{arguments.words[0]}: no such program in {', '.join(tools.FOLDERS)}")
            return enter.NOT_FOUND
        if arguments.ns is None and not privilege.is_root():
            kinds = (*kinds, "user")  # in a namespace of users that is one's own one has the rights that it takes
        return enter.run(_entry(target, main, kinds, *program))
    finally:
        release(target)


def kinds_of(text: str | None) -> tuple[str, ...]:
    """The namespaces that --ns names. Raises UsageError."""
    if text is None:
        return DEFAULT
    wanted = [ALIASES.get(word.strip(), word.strip()) for word in text.split(",")]
    if wanted == ["all"]:
        return enter.KINDS
    unknown = [word for word in wanted if word not in enter.KINDS]
    if unknown:
        raise UsageError(f"--ns: no namespace {unknown[0]!r}; there are {', '.join(sorted(enter.KINDS))}, and all")
    return tuple(kind for kind in enter.KINDS if kind in wanted)


def _entry(target: Target, main: Process, kinds: Sequence[str], program: str, words: Sequence[str]) -> enter.Entry:
    inside = "mnt" in kinds
    interactive = words in SHELLS and os.isatty(0)
    joined = [kind for kind in enter.KINDS if kind in enter.other_kinds(main.pid, kinds)]
    if interactive:
        _say(target, joined, inside=inside)
    return enter.Entry(
        pid=main.pid,
        alive=main.alive,
        kinds=kinds,
        program=program,
        words=words,
        environment=_environment(prompt(target.name, joined), inside=inside),
        interactive=interactive,
    )


def _program(words: Sequence[str], *, inside: bool) -> tuple[str, list[str]] | None:
    """The program's path, never looked for in PATH, and its words; None when there is no such program."""
    if inside:
        if not words:
            return BUSYBOX, ASH
        return (words[0] if "/" in words[0] else f"/bin/{words[0]}"), list(words)
    if words:
        path = words[0] if "/" in words[0] else tools.find(words[0])
        return (os.path.abspath(path), list(words)) if path is not None else None
    for name, given in (("bash", BASH), ("sh", SH)):
        if path := tools.find(name):
            return path, given
    raise MissingFacility("this machine has no bash and no sh")


def prompt(name: str, joined: Sequence[str]) -> str:
    """PS1 that tells where one is. Shells evaluate it, so only plain signs of the name are in it."""
    plain = _NOT_IN_A_PROMPT.sub("_", name.removesuffix(".service"))[:40]
    return f"[{plain} {','.join(sorted(joined)) or 'nothing'}] \\w \\$ "


def _environment(ps1: str, *, inside: bool) -> dict[str, str]:
    """A bare one, but for the terminal."""
    kept = {name: os.environ[name] for name in ("TERM", "COLORTERM", "LANG", "LC_ALL") if name in os.environ}
    path = "/bin" if inside else ":".join(tools.FOLDERS)
    return kept | {"PATH": path, "HOME": "/root", "PS1": ps1}


def _say(target: Target, joined: Sequence[str], *, inside: bool) -> None:
    """What this shell is, and what it is not."""
    entered = [kind for kind in joined if kind != "mnt"]
    place = ", ".join(sorted(entered)) if entered else "no namespace but this machine's"
    if inside:
        files = "Its files are in /target, read-only; its programs do not run. Tools: busybox."
    elif "pid" in joined:
        files = f"Files and tools are this machine's; the target's files are in /proc/{_inner(target)}/root."
    else:
        files = "Files and tools are this machine's. With --ns mnt the target's files are in /target."
    lines = (
        f"{clean(target.name)}: {place}.",
        files,
        "Its limits, cgroup, seccomp and rights do not bind you here. exit leads back.",
    )
    for line in lines:
        print(line, file=sys.stderr)


def _inner(target: Target) -> int | None:
    """The target's PID as it sees itself."""
    if target.pid is None:
        return None
    words = target.host.proc.status(target.pid).get("NSpid", "").split()
    return int(words[-1]) if words and words[-1].isdigit() else target.pid
