"""What is built into the loader that a program names as its interpreter: libc, version, default folders, cache.

All is read from the loader's file in the target's root; the loader is never run.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Literal

from gotriage.goruntime.ldcache import MAX_CACHE, Cache, parse_cache
from gotriage.goruntime.ldso import Loader

if TYPE_CHECKING:
    from gotriage.host.inroot import InRoot

Libc = Literal["glibc", "musl", "unknown"]

MAX_LOADER: Final = 4 * 1024 * 1024
"""Longest piece of a loader or of libc that is searched for its strings, bytes; glibc's loader has 0.2 MB."""
MUSL_PATH: Final = ("/lib", "/usr/local/lib", "/usr/lib")
_GLIBC_NAMES: Final = re.compile(r"ld(?:64)?(?:-linux[\w.-]*|-\d\S*)?\.so\.\d+$|ld-\d+\.\d+\.so$")
_BANNER: Final = re.compile(rb" release version (\d{1,3})\.(\d{1,3})")
_MUSL_VERSION: Final = re.compile(rb"\0(\d\.\d{1,2}\.\d{1,2}(?:-git-[\w-]{1,40})?)\0")
_FOLDER: Final = re.compile(rb"/[\x21-\x7e]{0,250}/|/")


def libc_of(interpreter: str) -> Libc:
    """Which C library an interpreter belongs to, by its name."""
    base = interpreter.rpartition("/")[2]
    if base.startswith("ld-musl-"):
        return "musl"
    return "glibc" if _GLIBC_NAMES.match(base) else "unknown"


def read_loader(root: InRoot, interpreter: str, machine: str, elf_class: int) -> tuple[Loader, str]:
    """The loader's facts and its version in words ("" unknown); those of a missing loader are the usual ones."""
    try:
        data = root.read(interpreter, MAX_LOADER)
    except OSError:
        data = b""
    if libc_of(interpreter) == "musl":
        return Loader(interpreter, machine, elf_class, None, _musl_path(root, interpreter)), musl_version(data)
    version = glibc_version(data)
    system = system_folders(data) or _usual_folders(root, elf_class)
    cache = _cache(root, b"/etc/ld.so.cache" if b"/etc/ld.so.cache\0" in data else _cache_path(data))
    words = f"{version[0]}.{version[1]}" if version else ""
    return Loader(interpreter, machine, elf_class, version, system, cache), words


def glibc_version(data: bytes) -> tuple[int, int] | None:
    """The version in the banner of glibc's loader (2.33 and later) or of libc.so.6."""
    match = _BANNER.search(data)
    return (int(match[1]), int(match[2])) if match else None


def musl_version(data: bytes) -> str:
    """The version string in musl's libc.so."""
    match = _MUSL_VERSION.search(data)
    return match[1].decode() if match else ""


def system_folders(data: bytes) -> tuple[str, ...]:
    """The default folders, which stand in the loader as neighbouring strings that end in a slash."""
    at = data.find(b"/\0/")
    for _ in range(16):
        if at < 0:
            break
        start = data.rfind(b"\0", max(0, at - 256), at) + 1
        found: list[str] = []
        while start and (end := data.find(b"\0", start, start + 256)) > start:
            piece = data[start:end]
            if not _FOLDER.fullmatch(piece) or len(found) >= 16:
                break
            found.append(os.fsdecode(piece))
            start = end + 1
        if len(found) > 1 and any(folder.endswith("lib/") or "/lib" in folder for folder in found):
            return tuple(found)
        at = data.find(b"/\0/", at + 1)
    return ()


def _usual_folders(root: InRoot, elf_class: int) -> tuple[str, ...]:
    """What distributions build in, when the loader itself is not there to tell."""
    wide = ("/lib64/", "/usr/lib64/") if elf_class == 64 else ()
    return tuple(folder for folder in (*wide, "/lib/", "/usr/lib/") if root.exists(folder))


def _cache_path(data: bytes) -> bytes:
    """The path of the cache where a distribution moved it (NixOS, Guix)."""
    end = data.find(b"/ld.so.cache\0")
    if end < 0:
        return b"/etc/ld.so.cache"
    return data[data.rfind(b"\0", max(0, end - 512), end) + 1 : end] + b"/ld.so.cache"


def _cache(root: InRoot, path: bytes) -> Cache:
    try:
        return parse_cache(root.read(os.fsdecode(path), MAX_CACHE))
    except (OSError, ValueError):
        return Cache()


def _musl_path(root: InRoot, interpreter: str) -> tuple[str, ...]:
    """The system path: /etc/ld-musl-ARCH.path, below the prefix of the loader's folder, else the built-in one."""
    folder, _, base = interpreter.rpartition("/")
    arch = base.removeprefix("ld-musl-").removesuffix(".so.1")
    prefix = folder.rpartition("/")[0]
    try:
        text = root.read(f"{prefix}/etc/ld-musl-{arch}.path", 65536)
    except FileNotFoundError:
        return MUSL_PATH
    except OSError:
        return ()
    return tuple(os.fsdecode(part) for part in re.split(rb"[:\n]", text.partition(b"\0")[0]) if part)
