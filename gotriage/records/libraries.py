"""What the executable is linked with, and what the loader would find; never by running it."""

from __future__ import annotations

from typing import ClassVar

from gotriage.records.base import Record, Row


class Library(Row, frozen=True, kw_only=True):
    """One node of the dependency tree, in breadth-first load order (ld.so(8)).

    Attributes:
        name: the DT_NEEDED text.
        depth: 0 for the executable, 1 for its own needs ...
        needed_by: who asks for it first.
        path: the file the rules lead to in the target's own root, None when missing.
        rule: which rule found it: "DT_RPATH", "LD_LIBRARY_PATH", "DT_RUNPATH", "ld.so.cache", "default", "preload",
            "path" (a name with a slash), "interpreter", "musl path".
        missing_versions: symbol versions it should define and does not ("GLIBC_2.38 asked by /app").
        shadowed: other files of that name that the search would have found later.
        loaded: the file that the live process has mapped for it, None when none.
        package: the package that owns `path`; for a missing one `install` names the package that has it.
    """

    name: str
    depth: int = 0
    needed_by: str = ""
    path: str | None = None
    rule: str = ""
    missing_versions: tuple[str, ...] = ()
    shadowed: tuple[str, ...] = ()
    loaded: str | None = None
    loaded_deleted: bool = False
    package: str = ""
    install: str = ""
    error: str = ""


class DynamicEntry(Row, frozen=True, kw_only=True):
    """One entry of the dynamic section, or one note, as readelf -d / -n prints it."""

    section: str
    tag: str
    value: str


class Libraries(Record, frozen=True, kw_only=True, tag="libraries"):
    """The executable's linking as a whole.

    Attributes:
        linkage: "static", "static-pie", "dynamic" or "dynamic-pie".
        libc: "glibc", "musl", "none" or "unknown"; `libc_version` where it can be told.
        missing: how many libraries no rule finds; `missing_versions` how many symbol versions are not provided.
        extra_loaded: files mapped executable that the tree does not explain (dlopen, NSS, plugins).
        note: one plain sentence for static and pure Go programs.
    """

    keep: ClassVar[int] = 20

    executable: str
    linkage: str
    interpreter: str = ""
    interpreter_found: bool | None = None
    libc: str = "unknown"
    libc_version: str = ""
    is_go: bool = False
    cgo: bool | None = None
    stripped: bool | None = None
    build_id: str = ""
    rows: tuple[Library, ...] = ()
    missing: int = 0
    missing_versions: int = 0
    extra_loaded: tuple[str, ...] = ()
    dynamic: tuple[DynamicEntry, ...] = ()
    note: str = ""
