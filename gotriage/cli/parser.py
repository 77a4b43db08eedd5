"""The command line of the contract, as argparse; nothing heavy is imported here."""

from __future__ import annotations

import argparse
import os
import re
from typing import NoReturn

from gotriage import __version__
from gotriage.errors import UsageError
from gotriage.records.target import TargetSpec

EPILOG = """\
exit status: 0 no finding above info, 1 warnings, 2 critical findings, 3 the target could not be inspected,
64 wrong usage, 69 a needed tool or kernel feature is missing, 77 permission denied"""

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|)$")
_FACTORS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


class Parser(argparse.ArgumentParser):
    """Wrong usage is a UsageError (exit 64), one line."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for anything it does not understand."""
        raise UsageError(f"{message}; see {self.prog} --help")


def duration(text: str) -> float:
    """ "5s", "1.5m", "2h", "250ms" or plain seconds, as seconds."""
    match = _DURATION.match(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"not a duration: {text!r} (5s, 2m, 1h)")
    return float(match[1]) * _FACTORS[match[2]]


def process_id(text: str) -> int:
    """A PID: a whole number of 1 and above."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"not a process id: {text!r}")
    return int(text)


def option(text: str) -> tuple[str, str]:
    """ "KEY=VALUE" as a pair."""
    key, equals, value = text.partition("=")
    if not equals or not key.replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(f"not KEY=VALUE: {text!r}")
    return key, value


def build() -> Parser:
    """The whole grammar."""
    parser = Parser(
        prog="gotriage",
        description="Find out what is wrong with a running Go service, without stopping it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gotriage {__version__}")
    _add_target(parser)
    _add_screen(parser)
    _add_config(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    _add_reading_commands(commands)
    _add_writing_commands(commands)
    _add_other_commands(commands)
    return parser


def _add_target(parser: argparse.ArgumentParser) -> None:
    target = parser.add_argument_group("target")
    one = target.add_mutually_exclusive_group()
    one.add_argument("--pid", "-p", type=process_id, metavar="N", default=argparse.SUPPRESS, help="one process")
    one.add_argument("--unit", "-u", metavar="NAME", default=argparse.SUPPRESS, help="a systemd unit")
    one.add_argument(
        "--container",
        "-c",
        metavar="REF",
        default=argparse.SUPPRESS,
        help="a container: id, unique prefix or name; NAMESPACE/POD[/CONTAINER]",
    )
    one.add_argument(
        "--core", metavar="FILE", default=argparse.SUPPRESS, help="a core file (zstd-compressed too) of a Go service"
    )
    target.add_argument(
        "--exe", metavar="FILE", default=argparse.SUPPRESS, help="the program of the core file, where it has moved"
    )
    target.add_argument("--user", action="store_true", default=argparse.SUPPRESS, help="the unit is a user unit")
    target.add_argument(
        "--root-pid",
        type=process_id,
        metavar="N",
        default=argparse.SUPPRESS,
        help="resolve names, units and journals as process N sees them",
    )


def _add_screen(parser: argparse.ArgumentParser) -> None:
    screen = parser.add_argument_group("screen")
    screen.add_argument("--theme", choices=("dark", "light"), default=argparse.SUPPRESS, help="colours (default: dark)")
    screen.add_argument(
        "--no-color", action="store_true", default=argparse.SUPPRESS, help="as NO_COLOR; sudo drops that"
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="read the settings from FILE")


_Commands = argparse._SubParsersAction


def _command(commands: _Commands[Parser], name: str, about: str, *, target: bool = True) -> Parser:
    parser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False)
    if target:
        _add_target(parser)
    _add_config(parser)
    return parser


def _add_reading_commands(commands: _Commands[Parser]) -> None:
    check = _command(commands, "check", "findings, ranked; the headless form of the first screen")
    walk = check.add_mutually_exclusive_group()
    walk.add_argument(
        "--reach", metavar="[HOST:]PORT", help="walk to this port of the target, up to what stands in the way"
    )
    walk.add_argument("--reach-from-target", metavar="HOST:PORT", help="the same from the target to a peer")
    show = _command(commands, "show", "one view's records")
    show.add_argument("view", nargs="?", metavar="VIEW", help="a view of `gotriage show --list`")
    show.add_argument("--list", action="store_true", help="list the views")
    show.add_argument("--group", action="store_true", help="goroutines: one entry a distinct stack")
    show.add_argument(
        "--export",
        choices=("debug2", "pprof", "folded", "speedscope"),
        help="goroutines as Go's own text (debug2); they and profiles for go tool pprof, as folded stacks;"
        " profiles for speedscope",
    )
    show.add_argument(
        "--against", metavar="FILE", help="goroutines, profile: what has changed since this snapshot or recording"
    )
    show.add_argument("-o", "--output", metavar="FILE", help="where --export writes; never overwrites")
    show.add_argument("--trace", metavar="NAME", help="which trace of the view to start, where it has several")
    show.add_argument(
        "--option",
        action="append",
        type=option,
        default=[],
        metavar="KEY=VALUE",
        help="how to start the view's trace; may be repeated",
    )
    show.add_argument("--yes", action="store_true", help="start a trace that stops the target")
    for parser in (check, show):
        parser.add_argument("--for", dest="seconds", type=duration, metavar="5s", help="how long to look")
        parser.add_argument("--from", dest="source", metavar="FILE", help="read a snapshot or recording instead")
        parser.add_argument("--json", action="store_true", help="one JSON object per line")


def _add_writing_commands(commands: _Commands[Parser]) -> None:
    snapshot = _command(commands, "snapshot", "everything the cheap collectors see, once, into a file")
    record = _command(commands, "record", "the same, continuously; Ctrl-C ends it cleanly")
    for parser in (snapshot, record):
        parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to make; never overwrites")
        parser.add_argument(
            "--trace",
            action="append",
            default=[],
            metavar="NAME[:KEY=VALUE]",
            help="run this trace meanwhile; may be repeated (docs/tracing.md)",
        )
        parser.add_argument("--yes", action="store_true", help="also one that stops the target")
    snapshot.add_argument("--for", dest="seconds", type=duration, metavar="5s", help="how long to look")
    record.add_argument("--for", dest="seconds", type=duration, metavar="60s", help="how long to record")


def _add_other_commands(commands: _Commands[Parser]) -> None:
    about = "the TUI on a snapshot, a recording or a core file: no root, any machine"
    opened = _command(commands, "open", about, target=False)
    opened.add_argument("file", metavar="FILE")
    opened.add_argument("--exe", metavar="FILE", default=argparse.SUPPRESS, help="the program of a core file")
    _add_screen(opened)
    demo = _command(commands, "demo", "a recorded incident, bundled: no root, no target", target=False)
    demo.add_argument("name", nargs="?", metavar="NAME", help="which incident; see --list")
    demo.add_argument("--list", action="store_true", help="list the bundled incidents")
    _add_screen(demo)
    _add_shell(commands)
    doctor = _command(
        commands, "doctor", "what this machine lets gotriage do, and how to get what is missing", target=False
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object per line")
    _command(commands, "agent", "the record stream on standard output, requests on standard input")


def _add_shell(commands: _Commands[Parser]) -> None:
    shell = _command(commands, "shell", "a shell or a command in the target's namespaces, with this machine's tools")
    shell.add_argument(
        "--ns",
        metavar="net,mnt,...",
        help="which namespaces: cgroup, ipc, mnt, net, pid, time, user, uts, or all; without it all but mnt and user."
        " With mnt the root is a private one: a static busybox, the target's files in /target, for reading only",
    )
    shell.add_argument("words", nargs="*", metavar="COMMAND", help="what to run, behind --; its exit status is ours")


def target_of(arguments: argparse.Namespace) -> TargetSpec:
    """The target that the flags name; kind "none" when they name none."""
    user, root_pid = getattr(arguments, "user", False), getattr(arguments, "root_pid", None)
    exe = getattr(arguments, "exe", None)
    if exe is not None and getattr(arguments, "core", None) is None:
        raise UsageError("--exe FILE goes with --core FILE")
    for kind in ("pid", "unit", "container", "core"):
        value = getattr(arguments, kind, None)
        if value is not None:
            if value == "":
                raise UsageError(f"--{kind} needs a value")
            if user and kind != "unit":
                raise UsageError("--user goes with --unit only")
            if kind == "core":
                return core_spec(value, exe)
            return TargetSpec(kind=kind, value=str(value), user=user, root_pid=root_pid)
    if user:
        raise UsageError("--user goes with --unit NAME")
    return TargetSpec(root_pid=root_pid)


def core_spec(path: str, exe: str | None) -> TargetSpec:
    """A core file and its program, by paths that hold in any folder."""
    if exe == "":
        raise UsageError("--exe needs a value")
    return TargetSpec(kind="core", value=os.path.abspath(path), exe=os.path.abspath(exe) if exe else "")


def needed_target(arguments: argparse.Namespace) -> TargetSpec:
    """Like `target_of`, but a missing target is wrong usage."""
    spec = target_of(arguments)
    if spec.kind == "none":
        raise UsageError(f"{arguments.command} needs a target: --pid N, --unit NAME, --container REF or --core FILE")
    return spec
