"""Which package owns a file, and which one has a missing library: from the package database in the target's own root.

dpkg: /var/lib/dpkg/info/*.list (dpkg-query(1)), and status.d of distroless images. apk: lib/apk/db/installed (apk's
database format v2). rpm: rpmdb.sqlite (rpm 4.16 and later), see `rpmdb`. No package tool is run: a tool of the
host knows nothing of the target's packages, and a tool of the target is never executed.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Final, Literal

from gotriage.host import rpmdb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gotriage.host.inroot import InRoot

Manager = Literal["dpkg", "rpm", "apk", ""]

MAX_LISTS: Final = 20_000
MAX_LIST: Final = 16 * 1024 * 1024
MAX_DATABASE: Final = 64 * 1024 * 1024
"""Longest apk database, and package index, that is read; bytes."""
CHUNK: Final = 1024 * 1024

DPKG: Final = "/var/lib/dpkg/info"
DPKG_DISTROLESS: Final = "/var/lib/dpkg/status.d"
APK: Final = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
APT_LISTS: Final = "/var/lib/apt/lists"

_MERGED: Final = ("/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin")
"""Folders that are links into /usr since the merge; databases name files by either path."""

_DEBIAN: Final = {
    "libz.so.1": "zlib1g", "libcrypto.so.3": "libssl3", "libcrypto.so.1.1": "libssl1.1", "libgcc_s.so.1": "libgcc-s1",
    "libc.so.6": "libc6", "libm.so.6": "libc6", "libmvec.so.1": "libc6", "libpthread.so.0": "libc6",
    "libdl.so.2": "libc6", "librt.so.1": "libc6", "libresolv.so.2": "libc6", "libutil.so.1": "libc6",
    "libnss_files.so.2": "libc6", "libanl.so.1": "libc6", "libnsl.so.1": "libnsl2", "libpam.so.0": "libpam0g",
    "libcurl-gnutls.so.4": "libcurl3-gnutls", "libxml2.so.2": "libxml2", "libjpeg.so.62": "libjpeg62-turbo",
    "libGL.so.1": "libgl1", "libpython3.11.so.1.0": "libpython3.11", "libdb-5.3.so": "libdb5.3",
}  # fmt: skip
"""Sonames whose Debian package does not follow the policy's naming rule."""


def manager(root: InRoot) -> Manager:
    """Which package database the root has; "" when none."""
    if root.exists(DPKG) or root.exists(DPKG_DISTROLESS):
        return "dpkg"
    if any(root.exists(path) for path in APK):
        return "apk"
    return "rpm" if rpmdb.find(root) or rpmdb.unreadable(root) else ""


def why_unknown(root: InRoot) -> str:
    """Why owners cannot be told, "" when they can."""
    found = manager(root)
    if not found:
        return "no package database in the target's root"
    if found == "rpm" and not rpmdb.find(root):
        return f"{rpmdb.unreadable(root)}: only rpm's sqlite database (rpm 4.16 and later) is read"
    return ""


def owners(root: InRoot, paths: Iterable[str]) -> dict[str, str]:
    """Path to the package that owns it, where one does. Paths are absolute in the root; links count as files."""
    wanted: dict[str, str] = {}
    for path in paths:
        for alias in aliases(root, path):
            wanted.setdefault(alias, path)
    if not wanted:
        return {}
    found = manager(root)
    pairs: Iterator[tuple[str, str]] = iter(())
    if found == "dpkg":
        pairs = _dpkg(root, wanted)
    elif found == "apk":
        pairs = _apk(root, wanted)
    elif found == "rpm":
        pairs = rpmdb.owners(root, list(wanted))
    result: dict[str, str] = {}
    for alias, package in pairs:
        result.setdefault(wanted[alias], package)
    return result


def aliases(root: InRoot, path: str) -> list[str]:
    """The names by which a database may know a file: as given, links resolved, and each with or without /usr."""
    names = [path]
    with contextlib.suppress(OSError):
        names.append(root.real(path))
    for name in list(names):
        if name.startswith("/usr/") and name[4:].startswith(tuple(f"{folder}/" for folder in _MERGED)):
            names.append(name[4:])
        elif name.startswith(tuple(f"{folder}/" for folder in _MERGED)):
            names.append("/usr" + name)
    return list(dict.fromkeys(os.path.normpath(name) for name in names))


# dpkg


def _dpkg_lists(root: InRoot) -> Iterator[tuple[str, list[bytes]]]:
    """Package and the paths it owns, for every installed package."""
    for folder, end in ((DPKG, ".list"), (DPKG_DISTROLESS, ".md5sums")):
        try:
            names = [name for name in root.names(folder) if name.endswith(end)]
        except OSError:
            continue
        for name in names[:MAX_LISTS]:
            try:
                data = root.read(f"{folder}/{name}", MAX_LIST)
            except OSError:
                continue
            lines = data.split(b"\n")
            if end == ".md5sums":
                lines = [b"/" + line.partition(b"  ")[2] for line in lines]
            yield name.removesuffix(end).partition(":")[0], lines


def _dpkg(root: InRoot, wanted: dict[str, str]) -> Iterator[tuple[str, str]]:
    left = {os.fsencode(alias): alias for alias in wanted}
    paths = set(wanted.values())
    for package, lines in _dpkg_lists(root):
        for line in left.keys() & set(lines):
            alias = left.pop(line)
            yield alias, package
            paths.discard(wanted[alias])
        if not paths:
            return


def _dpkg_has(root: InRoot, name: str) -> str:
    """The installed package that should have a library of that name, "" when none: its file was removed."""
    ending = b"/" + os.fsencode(name)
    for package, lines in _dpkg_lists(root):
        if any(line.endswith(ending) for line in lines if b"/lib" in line):
            return package
    return ""


def debian_names(soname: str) -> list[str]:
    """Names that Debian's policy (8.1, shared libraries) gives to the package of a soname, likeliest first."""
    if soname in _DEBIAN:
        return [_DEBIAN[soname], _DEBIAN[soname] + "t64"]
    match = re.fullmatch(r"(lib[\w.+-]*?|[\w.+-]+?)\.so(?:\.([\w.]+))?", soname)
    if not match:
        return []
    stem, version = match[1].lower().replace("_", "-"), match[2] or ""
    joint = "-" if version and stem[-1].isdigit() else ""
    name = f"{stem}{joint}{version}"
    return [name, f"{name}t64"]


def _known_to_apt(root: InRoot, names: list[str]) -> str:
    """The first of the names that an apt package index in the root lists, "" when none does."""
    needles = [(name, f"\nPackage: {name}\n".encode()) for name in names]
    try:
        files = [name for name in root.names(APT_LISTS) if name.endswith("_Packages")]
    except OSError:
        return ""
    for file in files[:64]:
        try:
            found = _search(root, f"{APT_LISTS}/{file}", needles)
        except OSError:
            continue
        if found:
            return found
    return ""


def _search(root: InRoot, path: str, needles: list[tuple[str, bytes]]) -> str:
    """The name of the first needle in a file, read in chunks."""
    overlap = max(len(needle) for _, needle in needles)
    with root.opened(path) as fd:
        tail, left = b"\n", MAX_DATABASE
        while left > 0 and (chunk := os.read(fd, CHUNK)):
            data = tail + chunk
            for name, needle in needles:
                if needle in data:
                    return name
            tail, left = data[-overlap:], left - len(chunk)
    return ""


# apk


def _apk(root: InRoot, wanted: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Lines "P:package", "F:folder", "R:file" of the installed database."""
    data = b""
    for path in APK:
        try:
            data = root.read(path, MAX_DATABASE)
            break
        except OSError:
            continue
    left = {os.fsencode(alias): alias for alias in wanted}
    package = folder = b""
    for line in data.split(b"\n"):
        kind = line[:2]
        if kind == b"R:":
            alias = left.pop(b"/" + (folder + b"/" if folder else b"") + line[2:], None)
            if alias is not None:
                yield alias, package.decode("utf-8", "replace")
        elif kind == b"F:":
            folder = line[2:]
        elif kind == b"P:":
            package = line[2:]


# What to install


def install(root: InRoot, soname: str, elf_class: int, machine: str = "") -> str:
    """The command that brings a missing library, "" when the root has no package manager or the name tells nothing.

    For Debian a name that no index confirms is marked as a guess.
    """
    if "/" in soname or not re.fullmatch(r"[\w.+-]{1,128}", soname):
        return ""
    found = manager(root)
    if found == "apk":
        return f"apk add so:{soname}"
    if found == "rpm":
        tool = "zypper" if _is_suse(root) else "dnf"
        return f"{tool} install '{soname}{'()(64bit)' if elf_class == 64 else ''}'"
    return _apt(root, soname, machine) if found == "dpkg" else ""


def _apt(root: InRoot, soname: str, machine: str) -> str:
    arch = ":i386" if machine == "i386" and root.exists("/lib64/ld-linux-x86-64.so.2") else ""
    owner = _dpkg_has(root, soname)
    if owner:
        return f"apt-get install --reinstall {owner}{arch}"
    names = debian_names(soname)
    if not names:
        return ""
    known = _known_to_apt(root, names)
    if known or soname in _DEBIAN:
        return f"apt-get install {known or names[0]}{arch}"
    return f"apt-get install {names[0]}{arch}  (a guess from the name)"


def _is_suse(root: InRoot) -> bool:
    try:
        return b"suse" in root.read("/etc/os-release", 65536)
    except OSError:
        return False
