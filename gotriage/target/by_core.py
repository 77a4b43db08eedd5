"""A target given as a core file: nothing runs, and what is known is its memory, its registers and its program's file.

The files are opened with the caller's rights, which may be root's; root is given away before a byte of them is looked
at. What a core file says is as hostile as a process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from msgspec.structs import replace

from gotriage.errors import GotriageError, NotPermitted, TargetError, UsageError
from gotriage.goruntime import buildinfo
from gotriage.goruntime.client import Reader
from gotriage.goruntime.elf import ElfError
from gotriage.host import privilege, regular, unpack
from gotriage.records.target import GoBrief
from gotriage.records.text import clean
from gotriage.target.follow import event
from gotriage.target.model import CORE_DEADLINE, CoreRef, Target

if TYPE_CHECKING:
    from gotriage.goruntime.corefacts import CoreFacts
    from gotriage.host import Host
    from gotriage.records.target import TargetSpec

LATEST: Final = 7e9
"""Seconds since 1970 that count as a time."""


@dataclass(frozen=True, slots=True)
class CoreFiles:
    """Descriptors of the core file and of the program's file, or the error for which there are none."""

    core: int = -1
    exe: int | None = None
    error: GotriageError | None = None


def open_files(spec: TargetSpec) -> CoreFiles:
    """Open them with the rights that the caller has, and look at nothing in them. Raises nothing."""
    core = -1
    try:
        core = _opened(spec.value)
        return CoreFiles(core, _opened(spec.exe) if spec.exe else None)
    except GotriageError as error:
        if core >= 0:
            os.close(core)
        return CoreFiles(error=error)


def open_without_root(spec: TargetSpec) -> CoreFiles:
    """The same, and root's rights are given away: a core file needs none."""
    files = open_files(spec)
    privilege.drop_to(privilege.invoker())
    return files


def _opened(path: str) -> int:
    shown = clean(path, 300)
    try:
        return regular.opened(path)
    except FileNotFoundError:
        raise TargetError(f"{shown}: there is no such file") from None
    except PermissionError:
        raise NotPermitted(f"{shown}: permission denied; run gotriage as its owner, or as root (sudo)") from None
    except IsADirectoryError:
        raise TargetError(f"{shown} is a folder, not a file") from None
    except OSError as error:
        reason = "not a regular file" if os.path.exists(path) and not os.path.isfile(path) else error.strerror
        raise TargetError(f"{shown}: {reason}") from None


def attach(spec: TargetSpec, host: Host, files: CoreFiles | None = None) -> Target:
    """The core file, unpacked if it has to be, with a Go program in it.

    Raises UsageError, TargetError, NotPermitted, and what the reader raises (BadCore, NotGo, UnsupportedGo ...).
    """
    if not spec.value:
        raise UsageError("--core: name a core file")
    files = files or open_files(spec)
    if files.error is not None:
        raise files.error
    name = clean(os.path.basename(spec.value), 100)
    made = os.fstat(files.core).st_mtime
    try:
        plain = unpack.plain(files.core, name)
    except unpack.Unpackable as error:
        raise TargetError(f"{name}: {error}") from error
    except OSError as error:
        raise TargetError(f"{name}: it cannot be unpacked in {unpack.PLACE}: {error.strerror}") from error
    finally:
        os.close(files.core)
    facts = replace(_facts(name, plain, files.exe), made=min(max(made, 0.0), LATEST))
    target = Target(spec, host, name=name, core=CoreRef(name, plain, files.exe, facts))
    target.go = _go(target.core)
    target.pending += [event("note", f"{name}: {problem}") for problem in facts.problems]
    return target


def _facts(name: str, core: int, exe: int | None) -> CoreFacts:
    with Reader(core=core, exe=exe, name=name, rate=None) as reader:
        try:
            return cast("CoreFacts", reader.call("core", CORE_DEADLINE))
        except GotriageError as error:
            if str(error).startswith(f"{name}: "):
                raise
            raise type(error)(f"{name}: {error}") from error


def _go(core: CoreRef | None) -> GoBrief | None:
    """The build info of the program's file; where that cannot be had, what its memory tells."""
    if core is None:
        return None
    known = core.facts.identity
    brief = GoBrief(version=clean(known.go_version, 64), module=clean(known.module_path, 300))
    try:
        with core.program() as file:
            info = buildinfo.read(file.fileno())
    except (GotriageError, OSError, ElfError, ValueError):
        return brief
    if info is None:
        return brief
    return GoBrief(
        version=brief.version,
        module=brief.module or clean(info.path, 300),
        vcs_revision=clean(info.vcs_revision, 64),
        vcs_modified=info.vcs_modified,
    )
