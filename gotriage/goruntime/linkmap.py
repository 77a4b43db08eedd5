"""The dependency tree of a program as its loader would build it, in load order; nothing is loaded or run.

Follows glibc's elf/dl-deps.c (breadth first), elf/dl-load.c (names, identity of files) and elf/dl-version.c (symbol
versions), and musl's ldso/dynlink.c. Where a loader would stop at the first missing library, the tree goes on, as
`LD_TRACE_LOADED_OBJECTS=1` does.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from gotriage.goruntime.elf import (
    DF_1_NODEFLIB,
    DT_AUXILIARY,
    DT_FILTER,
    DT_FLAGS_1,
    DT_NEEDED,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    ET_DYN,
    ET_EXEC,
    Elf,
    ElfError,
    NotElf,
)
from gotriage.goruntime.ldso import Glibc, Loader, Musl, Start
from gotriage.goruntime.linkage import Need, versions_defined, versions_needed
from gotriage.goruntime.loader import MAX_LOADER, Libc, glibc_version, libc_of, read_loader
from gotriage.host.folders import Folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host.inroot import InRoot

MAX_OBJECTS: Final = 4000
"""Objects in one tree; the largest desktop programs have about 600."""
MAX_SHADOWED: Final = 8
PRELOAD_FILE: Final = "/etc/ld.so.preload"
_MUSL_OWN: Final = ("libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet.")
"""Names that musl answers with itself (ldso/dynlink.c, load_library)."""
_DIFFERENT: Final = "other class or machine"

Identity = tuple[int, int]


@dataclass(slots=True, eq=False)
class Node:
    """One object of the tree; the executable has depth 0.

    `path` is the file as the loader names it, None when no rule finds one; `weak` are versions that are not provided
    and need not be; an `optional` object (a preload, DT_AUXILIARY) may be missing.
    """

    name: str
    depth: int = 0
    parent: Node | None = None
    path: str | None = None
    rule: str = ""
    origin: str = ""
    soname: str = ""
    rpath: str | None = None
    runpath: str | None = None
    nodeflib: bool = False
    needed: tuple[tuple[str, bool], ...] = ()
    identity: Identity | None = None
    defined: frozenset[str] | None = None
    asks: tuple[Need, ...] = ()
    missing_versions: list[str] = field(default_factory=list)
    weak: list[str] = field(default_factory=list)
    shadowed: tuple[str, ...] = ()
    optional: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """All objects in load order without the executable, and what is known of loader and C library.

    `complete` is False when a bound was reached before everything was looked for.
    """

    main: Node
    nodes: tuple[Node, ...] = ()
    interpreter: str = ""
    interpreter_found: bool | None = None
    libc: Libc = "unknown"
    libc_version: str = ""
    complete: bool = True


def resolve(root: InRoot, elf: Elf, path: str, start: Start) -> Tree:
    """The tree of an open executable that stands at `path` in `root`.

    Raises ElfError when the executable itself is damaged; a damaged library is a node with an `error`.
    """
    main = Node(path, path=path, rule="executable")
    _fill(main, elf)
    main.origin = (path.rpartition("/")[0] or "/") if start.proc_mounted else ""
    facts = os.fstat(elf.fd)
    main.identity = (facts.st_dev, facts.st_ino)
    if not elf.interpreter and not main.needed:
        return Tree(main)
    with Folders(root) as folders:
        return _Walk(root, folders, elf, main, start).run()


class _Walk:
    """One resolution: the objects found so far by name, by file identity and in order."""

    def __init__(self, root: InRoot, folders: Folders, elf: Elf, main: Node, start: Start) -> None:
        self.root, self.folders, self.elf, self.main = root, folders, elf, main
        self.libc: Libc = libc_of(elf.interpreter)
        self.loader, self.version = read_loader(root, elf.interpreter, elf.machine_name, elf.elf_class)
        rules = Musl if self.libc == "musl" else Glibc
        self.rules: Glibc | Musl = rules(folders, self.loader, start, main)
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
        self.by_identity: dict[Identity, Node] = {}
        self.missing: set[str] = set()
        self.interpreter: Node | None = None
        if main.soname:
            self.by_name[main.soname] = main
        if main.identity:
            self.by_identity[main.identity] = main

    def run(self) -> Tree:
        """Preloads, then breadth first; the interpreter takes its place where it is first asked for, or the last."""
        self._load_interpreter()
        queue = deque([self.main])
        queue += self._preload()
        while queue and len(self.nodes) < MAX_OBJECTS:
            asker = queue.popleft()
            for name, optional in asker.needed:
                node = self._ask(name, asker, optional=optional)
                if node is not None and node is not self.interpreter:
                    queue.append(node)
        if self.interpreter is not None and self.interpreter not in self.nodes:
            self.nodes.append(self.interpreter)
        if self.libc != "musl":
            self._check_versions()
        return Tree(
            self.main,
            tuple(self.nodes),
            self.elf.interpreter,
            self.interpreter.path is not None if self.interpreter else None,
            self.libc,
            self.version or self._libc_version(),
            not queue and not self.folders.exhausted,
        )

    def _preload(self) -> Iterator[Node]:
        """What the environment and /etc/ld.so.preload put before all libraries; a failure is only warned of."""
        try:
            text = os.fsdecode(self.root.read(PRELOAD_FILE, 65536))
        except OSError:
            text = ""
        for name in self.rules.preloads(text):
            node = Node(name, 1, self.main, optional=True)
            if name in self.by_name or self._find(node, self.main) is not node:
                continue
            if node.path and self.rules.start.secure and not self._set_user_id(node.path):
                node.path, node.identity, node.needed = None, None, ()
            if node.path and not node.error:
                node.rule = "preload"
                self._register(node, name, node.path)
                yield node
            else:
                node.error = f"{node.error or 'not found'}: cannot be preloaded, ignored"
            self.nodes.append(node)

    def _set_user_id(self, path: str) -> bool:
        """What secure-execution mode asks of a preloaded file (ld.so(8))."""
        try:
            return bool(self.root.stat(path).st_mode & stat.S_ISUID)
        except OSError:
            return False

    def _load_interpreter(self) -> None:
        path = self.elf.interpreter
        if not path:
            return
        node = Node(path, 1, self.main, rule="interpreter")
        if self._load(node, path) != "taken":
            node.path, node.rule = None, ""
        self.interpreter = node
        self._register(node, path)

    def _register(self, node: Node, *names: str) -> None:
        for name in (*names, node.soname):
            if name:
                self.by_name.setdefault(name, node)
        if node.identity:
            self.by_identity.setdefault(node.identity, node)

    def _ask(self, name: str, asker: Node, *, optional: bool) -> Node | None:
        """The node for a name when it is new in the list, None when it is there already."""
        known = self._known(name)
        if known is None:
            node = Node(name, asker.depth + 1, asker, optional=optional)
            known = self._find(node, asker)
            if known is node:
                return self._add(node)
            self.by_name.setdefault(name, known)
        if known is self.interpreter and known not in self.nodes:
            known.depth, known.parent, known.name = asker.depth + 1, asker, name
            self.nodes.append(known)
            return known
        return None

    def _add(self, node: Node) -> Node | None:
        """Append a new node; None for a missing one that nothing need be said of (again)."""
        if node.path:
            self._register(node, node.name, node.path)
        elif node.optional or node.name in self.missing:  # DT_AUXILIARY; or another asker found none either
            return None
        else:
            self.missing.add(node.name)
        self.nodes.append(node)
        return node

    def _known(self, name: str) -> Node | None:
        if self.libc == "musl" and name.startswith(_MUSL_OWN) and self.interpreter:
            return self.interpreter
        return self.by_name.get(name)

    def _find(self, node: Node, asker: Node) -> Node:
        """Load the first candidate that fits into `node`; the node that has that file already, if one has."""
        candidates = self.rules.candidates(node.name, asker)
        abandoned: str | None = None
        for path, rule in candidates:
            if rule == abandoned:
                continue
            verdict = self._load(node, path)
            if verdict == "stop":
                if self.libc == "musl":
                    break
                abandoned = rule
            elif verdict == "taken":
                node.rule = rule
                known = self.by_identity.get(node.identity) if node.identity else None
                if known is not None:
                    return known
                node.shadowed = tuple(self._shadowed(node, candidates))
                return node
        if not node.path and self.folders.exhausted:
            node.error = "too many places to look in"
        return node

    def _load(self, node: Node, path: str) -> Literal["taken", "next", "stop"]:
        """Read what the rules need of a candidate, and say what the loader does: take it, try the next one, or give up.

        glibc gives up the list at hand (open_path in elf/dl-load.c), musl all of them (path_open).
        """
        try:
            with self.root.opened(path) as fd:
                facts = os.fstat(fd)
                identity = (facts.st_dev, facts.st_ino)
                node.path, node.identity, node.origin = path, identity, path.rpartition("/")[0] or "/"
                if identity not in self.by_identity:
                    node.error = "file too short" if facts.st_size < 64 else self._read(node, fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                return "next" if error.errno in self.rules.harmless else "stop"
            node.path, node.error = path, "not a regular file"
        except NotElf:
            node.error = "invalid ELF header"
        except ElfError as error:
            node.error = str(error)
        if node.error == _DIFFERENT:
            node.path, node.identity, node.error = None, None, ""
            return "next"
        return "taken"

    def _read(self, node: Node, fd: int) -> str:
        """Fill the node from an open file; what is wrong with the file, or "". Raises ElfError."""
        elf = Elf(fd)
        if self.rules.checks_machine and not self._fits(elf):
            return _DIFFERENT
        if elf.type not in (ET_DYN, ET_EXEC):
            return "only ET_DYN and ET_EXEC can be loaded"
        _fill(node, elf)
        return ""

    def _fits(self, elf: Elf) -> bool:
        mine = self.elf
        return (elf.elf_class, elf.machine, elf.endian) == (mine.elf_class, mine.machine, mine.endian)

    def _shadowed(self, node: Node, rest: Iterator[tuple[str, str]]) -> Iterator[str]:
        """Other files of that name that the search would have come to later, each file once."""
        seen = {self._place(node.path or "")}
        left = MAX_SHADOWED
        for path, _ in rest:
            place = self._place(path)
            if place in seen:
                continue
            seen.add(place)
            if left and self._is_other(node, path):
                left -= 1
                yield path

    def _place(self, path: str) -> tuple[Identity | None, str]:
        folder, _, name = path.rpartition("/")
        return self.folders.identity(folder + "/"), name

    def _is_other(self, node: Node, path: str) -> bool:
        try:
            with self.root.opened(path) as fd:
                facts = os.fstat(fd)
                return (facts.st_dev, facts.st_ino) != node.identity and self._fits(Elf(fd))
        except (OSError, ElfError):
            return False

    def _check_versions(self) -> None:
        """Every version asked for must be defined by the library it is asked of (elf/dl-version.c)."""
        for asker in (self.main, *self.nodes):
            for need in asker.asks:
                provider = self.by_name.get(need.library)
                if provider is None or provider.defined is None or need.version in provider.defined:
                    continue
                rows = provider.weak if need.weak else provider.missing_versions
                rows.append(f"{need.version} asked by {asker.path or asker.name}")

    def _libc_version(self) -> str:
        """glibc before 2.33 tells its version only in libc.so.6."""
        node = self.by_name.get("libc.so.6")
        if node is None or not node.path or self.libc == "musl":
            return ""
        try:
            version = glibc_version(self.root.read(node.path, MAX_LOADER))
        except OSError:
            return ""
        return f"{version[0]}.{version[1]}" if version else ""


_TEXTS: Final = frozenset({DT_NEEDED, DT_FILTER, DT_AUXILIARY, DT_SONAME, DT_RPATH, DT_RUNPATH})
_LIBRARIES: Final = frozenset({DT_NEEDED, DT_FILTER, DT_AUXILIARY})


def _fill(node: Node, elf: Elf) -> None:
    """Take over what the rules need; DT_RPATH counts only without DT_RUNPATH. Raises ElfError."""
    tags = elf.tags
    text = elf.dynamic_names([value for tag, value in elf.dynamic if tag in _TEXTS])
    node.soname = text[tags[DT_SONAME]] if DT_SONAME in tags else ""
    node.runpath = text[tags[DT_RUNPATH]] if DT_RUNPATH in tags else None
    node.rpath = text[tags[DT_RPATH]] if DT_RPATH in tags else None
    node.nodeflib = bool(tags.get(DT_FLAGS_1, 0) & DF_1_NODEFLIB)
    node.needed = tuple([(text[value], tag == DT_AUXILIARY) for tag, value in elf.dynamic if tag in _LIBRARIES])
    node.defined = versions_defined(elf)
    node.asks = versions_needed(elf)


__all__ = ["Loader", "Node", "Start", "Tree", "resolve"]
