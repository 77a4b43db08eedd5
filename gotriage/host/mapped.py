"""Which files a live process has mapped for execution: its loader's own view of the libraries (proc_pid_maps(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host.inroot import InRoot
    from gotriage.host.proc import Mapping

MAX_FILES: Final = 4000
_DELETED: Final = " (deleted)"


class Mapped(NamedTuple):
    """A file with executable mappings, by its path in the process's root."""

    path: str
    inode: int
    deleted: bool


def mapped_files(mappings: Iterable[Mapping], root: str = "/") -> tuple[Mapped, ...]:
    """The files with executable mappings, each once, in order of address; `root` is what /proc/PID/root links to.

    Anonymous memory and the kernel's own pages ([vdso]) are left out; a memfd is kept, its path is /memfd:NAME.
    """
    prefix = root.rstrip("/")
    found: dict[str, Mapped] = {}
    for mapping in mappings:
        if "x" not in mapping.perms or not mapping.inode or not mapping.path.startswith("/"):
            continue
        path = mapping.path.removesuffix(_DELETED)
        if prefix and path.startswith(prefix + "/"):
            path = path[len(prefix) :]
        if path not in found and len(found) < MAX_FILES:
            found[path] = Mapped(path, mapping.inode, mapping.path.endswith(_DELETED))
    return tuple(found.values())


def knows_itself(root: InRoot) -> bool:
    """Whether a program in that root can read /proc/self/exe, by which loaders find the value of $ORIGIN."""
    return root.exists("/proc/self")
