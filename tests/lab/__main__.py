"""The lab by hand: `python -m tests.lab --help`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import engines, systemd, toolchain

if TYPE_CHECKING:
    from collections.abc import Sequence


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description="Real parts to develop against.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("up", "start a systemd lab"),
        ("down", "end it"),
        ("docker", "start docker in it"),
        ("podman", "start podman in it"),
    ):
        commands.add_parser(name, help=text).add_argument("name")
    run = commands.add_parser("run", help="run a command in it, with the terminal")
    run.add_argument("name")
    run.add_argument("words", nargs=argparse.REMAINDER)
    unit = commands.add_parser("unit", help="write a unit file (- for standard input) into it and start it")
    unit.add_argument("name")
    unit.add_argument("unit")
    unit.add_argument("file")
    container = commands.add_parser("container", help="run a service in a container FROM scratch")
    container.add_argument("name")
    container.add_argument("engine", choices=("docker", "podman"))
    container.add_argument("container")
    container.add_argument("service")
    container.add_argument("words", nargs=argparse.REMAINDER)
    install = commands.add_parser("install", help="build a service and copy it to /usr/local/bin of the lab")
    install.add_argument("name")
    install.add_argument("service")
    build = commands.add_parser("build", help="build a service; prints the binary's path")
    build.add_argument("service")
    build.add_argument("--go", default=toolchain.NEWEST, choices=toolchain.VERSIONS)
    prepare = commands.add_parser("prepare", help="install Go toolchains and warm their build caches")
    prepare.add_argument("versions", nargs="*", default=toolchain.QUICK, metavar="VERSION")
    prepare.add_argument("--full", action="store_true", help="all versions")
    commands.add_parser("list", help="the running labs")
    commands.add_parser("sweep", help="end the labs of killed test runs")
    return parser


def _engine(lab: systemd.Lab, name: str) -> engines.Engine:
    return engines.start_docker(lab) if name == "docker" else engines.start_podman(lab)


def _in_lab(options: argparse.Namespace) -> int:
    lab = systemd.attach(options.name)
    match options.command:
        case "down":
            lab.down()
        case "docker" | "podman":
            print(_engine(lab, options.command).socket)
        case "run":
            return subprocess.run(lab.command(*options.words), check=False).returncode
        case "unit":
            text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text()
            print(lab.add_unit(options.unit, text), lab.main_pid(options.unit))
        case "install":
            print(lab.install(toolchain.build(options.service)))
        case "container":
            engine = _engine(lab, options.engine)
            image = engine.image(toolchain.build(options.service))
            print(engine.run(options.container, image, *options.words), engine.pid(options.container))
    return 0


def _prepare(versions: Sequence[str]) -> None:
    """What a test may then count on being quick; says what it does and how long it took."""
    for version in versions:
        start = time.monotonic()
        toolchain.build("healthy", version)
        print(f"Go {version}: ready ({time.monotonic() - start:.0f} s)", flush=True)
    for service in ("svc", "ill", "cgo"):
        toolchain.build(service)


def main() -> int:
    options = _parser().parse_args()
    match options.command:
        case "up":
            lab = systemd.up(options.name)
            print(f"systemd of {lab.name}: PID {lab.pid}")
        case "build":
            print(toolchain.build(options.service, options.go))
        case "prepare":
            _prepare(toolchain.VERSIONS if options.full else options.versions)
        case "list":
            print("\n".join(systemd.running()))
        case "sweep":
            print("\n".join(systemd.sweep()))
        case _:
            return _in_lab(options)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"lab: {error}")
