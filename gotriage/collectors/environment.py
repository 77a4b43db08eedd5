"""Who the process is and what it was given: /proc/PID and the executable's own build info."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gotriage.errors import AS_ROOT, GotriageError, NotPermitted, TargetGone, reason_of
from gotriage.goruntime import buildinfo
from gotriage.goruntime.elf import Elf, ElfError, NotElf
from gotriage.host import capabilities, clock, users
from gotriage.host.inroot import InRoot
from gotriage.host.streams import standard_streams
from gotriage.records import secrets
from gotriage.records.base import Why
from gotriage.records.environment import Environment, Module, Stream
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import CoreRef, Target

ROOT_READS = Why("permission denied", AS_ROOT, permission=True)
MOST_MODULES = 5000
MOST_VARIABLES = 5000
MOST_ARGUMENTS = 5000
_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86-64",
    183: "aarch64",
    243: "riscv",
}
"""e_machine of elf(5)."""


class EnvironmentCollector:
    """One `Environment` a look; what may not be read is None and says so."""

    backend = "/proc/PID and the executable"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._names = users.Seen(host)
        self._build: dict[str, Any] | None = None
        self._build_of: tuple[int, int, int] | None = None

    def collect(self) -> Iterator[Record]:
        """Look once."""
        if self._target.core is not None:
            yield of_core(self._target.core)
        pid = self._target.pid
        if pid is None:
            return
        unknown: dict[str, Why] = {}
        status = self._host.proc.status(pid)
        fields: dict[str, Any] = {}
        for name, part in (
            ("exe", self._executable),
            ("is_go", self._build_info),
            ("argv", self._arguments),
            ("env", self._variables),
            ("cwd", self._folders),
            ("streams", self._streams),
            ("namespaces", self._namespaces),
        ):
            fields |= _attempt(part, pid, name, unknown)
        if "env" in unknown:
            fields["masked"] = None
        who = _identity(status) | self._user(pid, status)
        yield Environment(at=clock.now(), unknown=unknown, pid=pid, **who, **self._labels(pid), **fields)

    # -- the executable

    def _executable(self, pid: int) -> dict[str, Any]:
        link = self._host.proc.link(pid, "exe")
        path = link.removesuffix(" (deleted)")
        return {"exe": clean(path), "exe_deleted": link != path, "exe_replaced": self._replaced(pid, path)}

    def _replaced(self, pid: int, path: str) -> bool | None:
        """Another file stands at the path now; None when nothing stands there or it cannot be told."""
        try:
            running = os.stat(self._host.proc.path(pid, "exe"))
            with InRoot(self._host.proc.path(pid, "root")) as root:
                standing = root.stat(path)
        except (OSError, GotriageError):
            return None
        return (running.st_dev, running.st_ino) != (standing.st_dev, standing.st_ino)

    def _build_info(self, pid: int) -> dict[str, Any]:
        """From the file that runs, read once a file."""
        path = self._host.proc.path(pid, "exe")
        try:
            facts = os.stat(path)
        except OSError as error:
            raise NotPermitted(reason_of(error)) from error
        identity = (facts.st_dev, facts.st_ino, facts.st_mtime_ns)
        if self._build is None or self._build_of != identity:
            self._build, self._build_of = _read_build(path), identity
        return self._build

    # -- what it was given

    def _arguments(self, pid: int) -> dict[str, Any]:
        words = self._host.proc.cmdline(pid)[:MOST_ARGUMENTS]
        return {"argv": tuple(clean(word) for word in secrets.mask_argv(words))}

    def _variables(self, pid: int) -> dict[str, Any]:
        counts: dict[str, int] = {}
        shown = {
            clean(name, 256): clean(secrets.mask_value(name, value, counts), 4096)
            for name, value in list(self._host.proc.environ(pid).items())[:MOST_VARIABLES]
        }
        return {"env": shown, "masked": sum(counts.values())}

    def _folders(self, pid: int) -> dict[str, Any]:
        return {"cwd": clean(self._host.proc.link(pid, "cwd")), "root": clean(self._host.proc.link(pid, "root"))}

    def _streams(self, pid: int) -> dict[str, Any]:
        rows = standard_streams(self._host, pid)
        return {"streams": tuple(Stream(row.fd, clean(row.goes_to), row.type) for row in rows)}

    def _namespaces(self, pid: int) -> dict[str, Any]:
        mine = "self" if self._host.root_pid is None else str(self._host.root_pid)
        own = {
            name: self._host.proc.link(mine, "ns", name)
            for name in self._host.proc.names(mine, "ns")
            if "_" not in name
        }
        return {"namespaces": self._host.proc.namespaces(pid), "host_namespaces": own}

    def _user(self, pid: int, status: dict[str, str]) -> dict[str, Any]:
        """Its user as it sees itself: its own passwd file, its own user namespace."""
        ids = [int(status.get(name, "0 0").split()[1]) for name in ("Uid", "Gid")]
        inside = [users.inside(self._host, pid, number, file) for number, file in zip(ids, users.MAPS, strict=True)]
        number = ids[0] if inside[0] is None else inside[0]
        return {"user": self._names.name(pid, number), "uid_inside": inside[0], "gid_inside": inside[1]}

    def _labels(self, pid: int) -> dict[str, Any]:
        try:
            label = self._host.proc.text(pid, "attr", "current").strip("\0\n")
        except (GotriageError, OSError):
            label = ""
        return {"security_label": clean(label, 512), "cgroup": clean(self._target.cgroup or "")}

    def close(self) -> None:
        """Nothing is held."""


def of_core(core: CoreRef) -> Environment:
    """What a core file and the program's file tell."""
    facts = core.facts
    build: dict[str, Any] = {}
    unknown = {"env": Why("a core file is not searched for it"), "cwd": Why("a core file does not hold it")}
    try:
        with core.program() as file:
            build = _read_build(file.fileno())
    except (GotriageError, OSError, ElfError) as error:
        unknown["is_go"] = Why(reason_of(error), "name the program of the core file with --exe")
    words = secrets.mask_argv(facts.command.split(" ")) if facts.command else []
    return Environment(
        at=clock.now(),
        unknown=unknown,
        pid=facts.pid or None,
        exe=clean(facts.program),
        argv=tuple(clean(word) for word in words),
        masked=None,
        **build,
    )


def _attempt(part: Callable[[int], dict[str, Any]], pid: int, name: str, unknown: dict[str, Why]) -> dict[str, Any]:
    """The fields of one part, or none and the reason under `name`. A vanished process ends the look."""
    try:
        return part(pid)
    except TargetGone:
        if name == "exe":
            unknown[name] = Why("it has no executable any more: it is about to end")
            return {}
        raise
    except NotPermitted:
        unknown[name] = ROOT_READS
    except (OSError, ElfError) as error:
        unknown[name] = Why(clean(reason_of(error), 300))
    return {}


def _read_build(path: str | int) -> dict[str, Any]:
    try:
        with Elf(path) as elf:
            fields: dict[str, Any] = {
                "elf_class": elf.elf_class,
                "elf_machine": _MACHINES.get(elf.machine, f"machine {elf.machine}"),
            }
            info = buildinfo.read(elf)
    except NotElf:
        return {"is_go": False}
    if info is None:
        return fields | {"is_go": False}
    main = info.main
    return fields | {
        "is_go": True,
        "go_version": clean(info.go_version, 256),
        "main_package": clean(info.path, 1024),
        "module": clean(main.path, 1024) if main else "",
        "main_version": clean(main.version, 256) if main else "",
        "modules": tuple(_module(module) for module in info.deps[:MOST_MODULES]),
        "settings": {clean(key, 256): clean(secrets.mask_text(value), 4096) for key, value in info.settings.items()},
    }


def _module(module: buildinfo.Module) -> Module:
    replaced = f"{module.replace.path} {module.replace.version}".strip() if module.replace else ""
    return Module(clean(module.path, 1024), clean(module.version, 256), clean(module.sum, 256), clean(replaced, 1024))


def _identity(status: dict[str, str]) -> dict[str, Any]:
    """Ids, groups, capabilities and the like from /proc/PID/status (proc_pid_status(5))."""
    return {
        "uid": tuple(int(word) for word in status.get("Uid", "").split()),
        "gid": tuple(int(word) for word in status.get("Gid", "").split()),
        "groups": tuple(int(word) for word in status.get("Groups", "").split()),
        "capabilities": capabilities.names(status.get("CapEff", "0")),
        "capabilities_bounding": capabilities.names(status.get("CapBnd", "0")),
        "no_new_privs": {"0": False, "1": True}.get(status.get("NoNewPrivs", "")),
        "seccomp": int(status["Seccomp"]) if status.get("Seccomp", "").isdigit() else None,
        "umask": status.get("Umask", ""),
    }
