"""What the process was given: build info, arguments, environment, identity, directories, streams."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from gotriage.records.base import Record


class Module(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Go module as runtime/debug.Module has it."""

    path: str
    version: str = ""
    sum: str = ""
    replaced_by: str = ""


class Stream(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a standard stream goes: fd 0, 1 or 2 and what it is, in words ("journal", "pipe to pid 7 (tee)" ...)."""

    fd: int
    goes_to: str
    type: str = ""


class Environment(Record, frozen=True, kw_only=True, tag="environment"):
    """Who the process is and what it was given. Values of secret variables are masked before they get here.

    Attributes:
        go_version, module, modules, settings: from the build info of the executable (debug/buildinfo).
        exe_deleted: /proc/PID/exe says "(deleted)": the file was replaced or removed since the start.
        exe_replaced: another file (inode) stands at the executable's path now.
        env: as it was at exec; the process may have changed its own copy since.
        capabilities: effective set by name (capabilities(7)).
        seccomp: 0 off, 1 strict, 2 filter.
    """

    keep: ClassVar[int] = 20

    pid: int | None = None
    exe: str = ""
    exe_deleted: bool = False
    exe_replaced: bool | None = None
    elf_class: int | None = None
    elf_machine: str = ""
    is_go: bool | None = None
    go_version: str = ""
    module: str = ""
    main_package: str = ""
    main_version: str = ""
    modules: tuple[Module, ...] = ()
    settings: dict[str, str] = {}
    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    masked: int | None = 0
    """How many values were masked; None when `env` could not be read."""
    uid: tuple[int, ...] = ()
    """Real, effective, saved, filesystem uid."""
    gid: tuple[int, ...] = ()
    user: str = ""
    """The name of the effective uid in its own /etc/passwd, else the number, as it counts itself."""
    uid_inside: int | None = None
    """The effective uid as its own user namespace counts; None where that is ours."""
    gid_inside: int | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    capabilities_bounding: tuple[str, ...] = ()
    no_new_privs: bool | None = None
    seccomp: int | None = None
    umask: str = ""
    cwd: str = ""
    root: str = ""
    streams: tuple[Stream, ...] = ()
    namespaces: dict[str, str] = {}
    """Namespace type to its inode as in /proc/PID/ns, with " (host's)" left to the reader of `host_namespaces`."""
    host_namespaces: dict[str, str] = {}
    cgroup: str = ""
    security_label: str = ""


class AccessProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A path that the process was given or has open and may not use: which access (r, w, x), and why not."""

    path: str
    needs: str
    reason: str
    owner: str = ""
    mode: str = ""
    source: str = ""
    """Where the path comes from: "argument 3", "CONFIG_FILE", "working directory", "fd 7", "log"."""


class Access(Record, frozen=True, kw_only=True, tag="access"):
    """The target's own files against its own uid, gid, groups and capabilities, in its own root."""

    keep: ClassVar[int] = 60

    checked: int = 0
    problems: tuple[AccessProblem, ...] = ()
