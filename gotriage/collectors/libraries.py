"""How the executable is linked: its dependency tree by the loader's rules, beside what the live process has mapped.

The executable is read through /proc/PID/exe, everything else in the target's own root; neither the target nor its
loader is run. While nothing runs, the executable of the unit is read instead.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.errors import NotPermitted
from gotriage.goruntime import buildinfo, linkage, readelf
from gotriage.goruntime.elf import Elf, ElfError, NotElf
from gotriage.goruntime.ldso import Cpu, Start
from gotriage.goruntime.linkmap import Node, Tree, resolve
from gotriage.host import clock, packages
from gotriage.host.inroot import InRoot
from gotriage.host.mapped import Mapped, knows_itself, mapped_files
from gotriage.host.proc import translated
from gotriage.records.base import Why
from gotriage.records.libraries import DynamicEntry, Libraries, Library
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

AT_SECURE: Final = 23
"""Entry of the auxiliary vector (getauxval(3)): secure-execution mode."""
MAX_TEXT: Final = 1024
_ENVIRONMENT: Final = ("LD_LIBRARY_PATH", "LD_PRELOAD")
_LOST: Final = "which libraries the executable needs and whether they are there"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last record was made of; an equal one needs no new look."""

    generation: int
    executable: tuple[int, ...]
    environment: tuple[str | None, ...]
    mapped: tuple[Mapped, ...]


class LibraryCollector:
    """Yields `Libraries` when the executable, its environment or its mappings have changed."""

    backend = "ELF files"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._seen: Seen | None = None
        self._cpu: Cpu | None = None

    def collect(self) -> Iterator[Record]:
        """Look once. Raises TargetGone, NotPermitted or ElfError when the executable cannot be read at all."""
        if self._cpu is None:
            self._cpu = cpu_of(self._host)
        if self._target.pid is not None:
            yield from self._live(self._target.pid)
        elif self._target.exec_path:
            self._seen = None
            yield from self._idle(self._target.exec_path)
        else:
            reason = "nothing of the target runs, and the path of its executable is not known"
            yield Gap(at=clock.now(), source="libraries", reason=reason, lost=_LOST)

    def close(self) -> None:
        """Nothing is held between two looks."""

    def _live(self, pid: int) -> Iterator[Record]:
        proc = self._host.proc
        env = proc.environ(pid)
        inside = proc.link(pid, "root")
        mapped = mapped_files(proc.maps(pid), inside)
        exe = proc.path(pid, "exe")
        path = _within(proc.link(pid, "exe").removesuffix(" (deleted)"), inside)
        try:
            elf, root = Elf(exe), InRoot(proc.path(pid, "root"))
        except OSError as error:
            raise translated(error, exe) from error
        with elf, root:
            facts = os.fstat(elf.fd)
            seen = Seen(
                self._target.generation,
                (facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size),
                tuple(env.get(name) for name in _ENVIRONMENT),
                mapped,
            )
            if seen == self._seen:
                return
            yield describe(root, elf, path, self._start(pid, env, inside, elf, root), mapped)
        self._seen = seen

    def _start(self, pid: int, env: dict[str, str], inside: str, elf: Elf, root: InRoot) -> Start:
        """How the kernel started it."""
        cwd, secure = self._cwd(pid, inside), self._secure(pid, elf)
        return Start(env, cwd, secure, knows_itself(root), self._cpu or Cpu())

    def _cwd(self, pid: int, inside: str) -> str:
        try:
            return _within(self._host.proc.link(pid, "cwd"), inside)
        except NotPermitted:
            return "/"

    def _secure(self, pid: int, elf: Elf) -> bool:
        """Whether the kernel told the loader to distrust the environment."""
        try:
            data = self._host.proc.read(pid, "auxv", limit=8192)
        except NotPermitted:
            return False
        return auxv(data, elf).get(AT_SECURE, 0) != 0

    def _idle(self, path: str) -> Iterator[Record]:
        try:
            with InRoot(str(self._host.view)) as root:
                yield resolve_file(root, path, self._target.exec_env, self._cpu)
        except NotElf as error:
            yield Gap(at=clock.now(), source="libraries", reason=f"{clean(path, MAX_TEXT)}: {error}", lost=_LOST)
        except OSError as error:
            reason = f"{clean(path, MAX_TEXT)}: {error.strerror or error}"
            yield Gap(at=clock.now(), source="libraries", reason=reason, lost=_LOST)


def resolve_file(root: InRoot, path: str, env: dict[str, str], cpu: Cpu | None = None) -> Libraries:
    """The libraries of an executable that need not run: what its loader would find if it were started with `env`.

    Raises OSError when it cannot be opened in `root`, NotElf or ElfError when it is no ELF file or a damaged one.
    """
    with root.opened(path) as fd, Elf(fd) as elf:
        start = Start(env, secure=_grants(fd), cpu=cpu or Cpu())
        return describe(root, elf, root.real(path), start, None)


def _grants(fd: int) -> bool:
    """Whether running the file gives rights, which turns secure-execution mode on: set-ID bits, file capabilities."""
    if os.fstat(fd).st_mode & (stat.S_ISUID | stat.S_ISGID):
        return True
    try:
        return bool(os.getxattr(fd, "security.capability"))
    except OSError:
        return False


def cpu_of(host: Host) -> Cpu:
    """The processor's flags from the first entry of /proc/cpuinfo; none for other architectures than x86."""
    for line in host.proc.read("cpuinfo", limit=65536).split(b"\n"):
        if line.startswith(b"vendor_id"):
            intel = b"GenuineIntel" in line
        elif line.startswith(b"flags"):
            return Cpu(frozenset(line.partition(b":")[2].decode("ascii", "replace").split()), intel)
    return Cpu()


def auxv(data: bytes, elf: Elf) -> dict[int, int]:
    """The auxiliary vector of /proc/PID/auxv, in the words of the program's own class."""
    pair = struct.Struct(elf.endian + ("QQ" if elf.elf_class == 64 else "II"))
    return dict(pair.iter_unpack(data[: len(data) // pair.size * pair.size]))


def describe(root: InRoot, elf: Elf, path: str, start: Start, mapped: tuple[Mapped, ...] | None) -> Libraries:
    """The record of an open executable at `path` in `root`; `mapped` is None when it does not run."""
    facts = linkage.facts(elf)
    tree = resolve(root, elf, path, start)
    info = _build_info(elf)
    is_go = info is not None or bool(facts.go_build_id)
    cgo = linkage.uses_cgo(elf, info.settings.get("CGO_ENABLED", "")) if info else None
    rows, extra = _rows(root, tree, path, mapped, facts.elf_class, facts.machine)
    reason = packages.why_unknown(root) if rows else ""
    pure = not tree.nodes and is_go and cgo is False
    return Libraries(
        at=clock.now(),
        executable=clean(path, MAX_TEXT),
        linkage=facts.linkage,
        interpreter=clean(tree.interpreter, MAX_TEXT),
        interpreter_found=tree.interpreter_found,
        libc="none" if pure else tree.libc,
        libc_version=tree.libc_version,
        is_go=is_go,
        cgo=cgo,
        stripped=facts.stripped,
        build_id=facts.build_id,
        rows=rows,
        missing=sum(1 for node in tree.nodes if _is_missing(node)),
        missing_versions=sum(len(node.missing_versions) for node in tree.nodes),
        extra_loaded=extra,
        dynamic=tuple(DynamicEntry(section=_c(s), tag=_c(t), value=_c(v)) for s, t, v in _dynamic(elf, tree)),
        note=_note(tree, facts.linkage, is_go=is_go, cgo=cgo),
        unknown={"package": Why(reason)} if reason else {},
    )


def _c(text: str) -> str:
    return clean(text, MAX_TEXT)


def _build_info(elf: Elf) -> buildinfo.BuildInfo | None:
    try:
        return buildinfo.read(elf)
    except ElfError:
        return None


def _dynamic(elf: Elf, tree: Tree) -> list[readelf.Row]:
    """What readelf would show, and the weak versions that nobody provides: they do no harm, but explain surprises."""
    rows = readelf.rows(elf)
    for node in tree.nodes:
        rows += [("weak versions not provided", node.name, text) for text in node.weak]
    return rows


def _note(tree: Tree, linked: str, *, is_go: bool, cgo: bool | None) -> str:
    if not tree.complete:
        return "The search was cut short: the files ask for more than is ever looked up."
    if tree.nodes and any(node.rule != "interpreter" for node in tree.nodes):
        return ""
    kind = "position-independent" if linked.endswith("pie") else linked
    if is_go and cgo is False:
        what = f"Pure Go, {kind}"
    else:
        what = "Statically linked Go with C code" if is_go and cgo else f"{kind.capitalize()} executable"
    if tree.interpreter:
        return f"{what}: it starts through {clean(tree.interpreter, 256)} but needs no library."
    return f"{what}: no loader runs and no library is needed."


# Rows


def _is_missing(node: Node) -> bool:
    return node.path is None and not node.optional


def _rows(
    root: InRoot, tree: Tree, executable: str, mapped: tuple[Mapped, ...] | None, elf_class: int, machine: str
) -> tuple[tuple[Library, ...], tuple[str, ...]]:
    """Missing ones first, then damaged and too old ones, each in load order; and the mapped files the tree lacks."""
    loaded, extra = _match(root, tree, executable, mapped or ())
    owned = packages.owners(root, [node.path for node in tree.nodes if node.path])
    order = sorted(
        tree.nodes, key=lambda node: 0 if _is_missing(node) else 1 if node.error or node.missing_versions else 2
    )
    rows = []
    for node in order:
        file = loaded.get(node)
        rows.append(
            Library(
                name=_c(node.name),
                depth=node.depth,
                needed_by=_c(node.parent.name if node.parent else ""),
                path=_c(node.path) if node.path is not None else None,
                rule=node.rule,
                missing_versions=tuple(map(_c, node.missing_versions)),
                shadowed=tuple(map(_c, node.shadowed)),
                loaded=_c(file.path) if file else None,
                loaded_deleted=file.deleted if file else False,
                package=_c(owned.get(node.path or "", "")),
                install=packages.install(root, node.name, elf_class, machine) if _is_missing(node) else "",
                error=_c(node.error),
            )
        )
    return tuple(rows), extra


def _match(
    root: InRoot, tree: Tree, executable: str, mapped: tuple[Mapped, ...]
) -> tuple[dict[Node, Mapped], tuple[str, ...]]:
    """Which mapped file belongs to which node: by path, by inode, else by a name that begins with the node's."""
    left = {file.path: file for file in mapped if file.path != executable}
    found: dict[Node, Mapped] = {}
    if left:
        for node in tree.nodes:
            file = _by_path(root, node, left)
            if file is not None:
                found[node] = left.pop(file.path)
        for node in tree.nodes:
            if node not in found and (file := _by_name(node, left)) is not None:
                found[node] = left.pop(file.path)
    extra = (f"{file.path} (deleted)" if file.deleted else file.path for file in left.values())
    return found, tuple(_c(path) for path in extra)


def _by_path(root: InRoot, node: Node, left: dict[str, Mapped]) -> Mapped | None:
    if not node.path:
        return None
    try:
        real = root.real(node.path)
    except OSError:
        return None
    inode = node.identity[1] if node.identity else 0
    return left.get(real) or next((file for file in left.values() if file.inode == inode and not file.deleted), None)


def _by_name(node: Node, left: dict[str, Mapped]) -> Mapped | None:
    """After an upgrade the mapped file may have another version in its name: libx.so.1.2 for libx.so.1."""
    name = node.name.rpartition("/")[2]
    for file in left.values():
        base = file.path.rpartition("/")[2]
        if base == name or base.startswith(name + "."):
            return file
    return None


def _within(path: str, root: str) -> str:
    """A path that /proc shows, as the process sees it when its root is a folder (chroot(2))."""
    if root != "/" and path.startswith(root.rstrip("/") + "/"):
        return path[len(root.rstrip("/")) :]
    return path
