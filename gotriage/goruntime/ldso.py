"""Where a loader looks for a library: the rules of glibc's ld.so(8) and of musl's, as lists of candidates in order.

Sources: ld.so(8); glibc 2.36 elf/dl-load.c, elf/dl-hwcaps.c, sysdeps/x86/dl-hwcap.h; musl 1.2.3 ldso/dynlink.c.
Nothing here opens a candidate; whether a folder has an entry of a name is asked of `host.folders.Folders`.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final, Protocol

from gotriage.goruntime.ldcache import Cache, abi_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gotriage.host.folders import Folders

MAX_LIST: Final = 1024
"""Folders taken of one search list."""

_V2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_HASWELL = {"avx2", "bmi1", "bmi2", "abm", "movbe", "popcnt", "fma"}
HWCAP_X86_64, HWCAP_AVX512_1, HWCAP_HASWELL, HWCAP_TLS = 1 << 1, 1 << 2, 1 << 50, 1 << 63
"""Bits of legacy cache entries (sysdeps/x86/dl-hwcap.h; platforms begin at bit 48, haswell is the third)."""


class Asker(Protocol):
    """An object that asks for a library, as far as the rules must know it."""

    origin: str
    """Its folder, "" when that is unknown."""
    rpath: str | None
    runpath: str | None
    nodeflib: bool

    @property
    def parent(self) -> Asker | None:
        """What loaded it, None for the executable."""
        ...


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor by its flags in /proc/cpuinfo; `intel` because glibc knows platform names for Intel alone."""

    flags: frozenset[str] = frozenset()
    intel: bool = False

    @property
    def levels(self) -> tuple[str, ...]:
        """Subdirectories of glibc-hwcaps for x86-64, best first (the psABI's microarchitecture levels)."""
        rows = (("x86-64-v4", _V4), ("x86-64-v3", _V3), ("x86-64-v2", _V2))
        return tuple(name for name, needs in rows if needs <= self.flags)

    @property
    def haswell(self) -> bool:
        """Whether glibc calls the platform "haswell" (sysdeps/x86/cpu-features.c)."""
        return self.intel and self.flags >= _HASWELL

    @property
    def avx512_1(self) -> bool:
        """Whether glibc's legacy capability of that name is on."""
        return self.intel and self.flags >= {"avx512cd", "avx512bw", "avx512dq", "avx512vl"}


@dataclass(frozen=True, slots=True)
class Start:
    """How the program is started: its environment, working directory, and secure-execution mode (ld.so(8)).

    Without /proc in its root a program does not know its own origin: both loaders read the link /proc/self/exe.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    secure: bool = False
    proc_mounted: bool = True
    cpu: Cpu = Cpu()


@dataclass(frozen=True, slots=True)
class Loader:
    """What is built into a loader: path, version (None unknown), default folders, cache; `machine` as in uname(1)."""

    path: str
    machine: str
    elf_class: int
    version: tuple[int, int] | None = None
    system: tuple[str, ...] = ("/lib/", "/usr/lib/")
    cache: Cache = field(default_factory=Cache)


Candidate = tuple[str, str]
"""A path to try and the rule that leads to it."""


def at(cwd: str, path: str) -> str:
    """A path of a search list as an absolute one."""
    return path if path.startswith("/") else f"{cwd.rstrip('/')}/{path.removeprefix('./')}"


class Glibc:
    """glibc's search. A candidate that turns out to be of another class or machine is passed over by the caller."""

    checks_machine = True
    harmless = frozenset({errno.ENOENT, errno.EACCES})
    """Errors of open(2) after which the next folder of a list is tried."""

    def __init__(self, folders: Folders, loader: Loader, start: Start, main: Asker) -> None:
        self.folders, self.loader, self.start, self.main = folders, loader, start, main
        x86 = loader.machine == "x86_64" and loader.elf_class == 64
        version = loader.version or (2, 32)  # loaders tell their version since 2.33
        self.levels = start.cpu.levels if x86 and version >= (2, 33) else ()
        legacy = x86 and version < (2, 37)
        self._legacy = self._legacy_names() if legacy else ()
        self._mask = self._legacy_mask() if legacy else None
        self._subdirs: dict[str, tuple[str, ...]] = {}
        self._lists: dict[tuple[str, str], tuple[str, ...]] = {}
        self._abi = abi_of(loader.machine, loader.elf_class)
        value = "" if start.secure else start.env.get("LD_LIBRARY_PATH", "")
        self._env = self._list(value, re.compile("[:;]"), main) if value else ()
        self._default = loader.system
        places = {folders.identity(folder): folder for folder in reversed(loader.system)}
        self._searched = tuple(folder for folder in loader.system if folder in places.values())  # each folder once

    # The rules, in order

    def candidates(self, name: str, asker: Asker) -> Iterator[Candidate]:
        """Places where the loader would find `name` for `asker`, in its order; only entries that exist."""
        if "/" in name:
            path = self._expanded(name, asker)
            if path is not None:
                yield at(self.start.cwd, path), "path"
            return
        if asker.runpath is None:
            for folders in self._rpaths(asker):
                yield from self._in(folders, name, "DT_RPATH")
        yield from self._in(self._env, name, "LD_LIBRARY_PATH")
        if asker.runpath:
            yield from self._in(self._list(asker.runpath, _COLON, asker), name, "DT_RUNPATH")
        cached = self.loader.cache.lookup(name, self._abi, self.levels, self._mask)
        if cached and not (asker.nodeflib and cached.startswith(self._default)):
            yield cached, "ld.so.cache"
        if not asker.nodeflib:
            yield from self._in(self._searched, name, "default")

    def preloads(self, file: str) -> list[str]:
        """Names to load before all others: LD_PRELOAD, then `file`, the text of /etc/ld.so.preload."""
        names = re.split("[ :]+", self.start.env.get("LD_PRELOAD", "")[:65536])
        if self.start.secure:  # ld.so(8): only plain names, and those only with the set-user-ID bit
            names = [name for name in names if "/" not in name]
        lines = (line.partition("#")[0] for line in file.split("\n"))
        names += [word for line in lines for word in re.split(r"[ :\t]+", line)]
        return [name for name in names if name][:MAX_LIST]

    def _rpaths(self, asker: Asker) -> Iterator[tuple[str, ...]]:
        """DT_RPATH of the asker, of what loaded that, and so on up, then of the executable."""
        seen_main, current = False, asker
        for _ in range(MAX_LIST):
            if current.rpath and current.runpath is None:
                yield self._list(current.rpath, _COLON, current)
                seen_main = seen_main or current is self.main
            if current.parent is None:
                break
            current = current.parent
        if not seen_main and self.main.rpath and self.main.runpath is None:
            yield self._list(self.main.rpath, _COLON, self.main)

    # Lists of folders

    def _list(self, text: str, separator: re.Pattern[str], asker: Asker) -> tuple[str, ...]:
        """The folders of a search list, tokens expanded, each ending in a slash; an empty element is the cwd."""
        known = self._lists.get((text, asker.origin))
        if known is not None:
            return known
        found: dict[str, None] = {}
        for element in separator.split(text, MAX_LIST)[:MAX_LIST]:
            path = self._expanded(element, asker)
            if path is not None:
                found[at(self.start.cwd, path or "./").rstrip("/") + "/"] = None
        self._lists[text, asker.origin] = tuple(found)
        return tuple(found)

    def _expanded(self, text: str, asker: Asker) -> str | None:
        """$ORIGIN, $LIB, $PLATFORM replaced; None when the origin is unknown or secure-execution mode forbids it."""
        if "$" not in text:
            return text
        values = {"ORIGIN": asker.origin, "LIB": self._lib(), "PLATFORM": self._platform()}
        result = _TOKEN.sub(lambda match: values[match[1] or match[2]], text)
        if "ORIGIN" in text and (not asker.origin or (self.start.secure and not result.startswith(self._default))):
            return None
        return result

    def _lib(self) -> str:
        first = self.loader.system[0] if self.loader.system else "/lib/"
        return first.strip("/").removeprefix("usr/")

    def _platform(self) -> str:
        return "haswell" if self.loader.machine == "x86_64" and self.start.cpu.haswell else self.loader.machine

    def _in(self, folders: tuple[str, ...], name: str, rule: str) -> Iterator[Candidate]:
        for folder in folders:
            for subdirectory in self._existing(folder):
                if self.folders.has(folder + subdirectory, name):
                    yield folder + subdirectory + name, rule

    # Hardware capabilities

    def _existing(self, folder: str) -> tuple[str, ...]:
        """The subdirectories to search in a folder, best first, "" (itself) last; empty when there is no folder."""
        known = self._subdirs.get(folder)
        if known is not None:
            return known
        found: list[str] = []
        if self.folders.exists(folder):
            if self.levels and self.folders.has(folder, "glibc-hwcaps"):
                names = (f"glibc-hwcaps/{level}/" for level in self.levels)
                found += [name for name in names if self.folders.exists(folder + name)]
            if self._legacy and any(self.folders.has(folder, name) for name in _LEGACY_FIRST):
                found += [name for name in self._legacy if self.folders.exists(folder + name)]
            found.append("")
        self._subdirs[folder] = tuple(found)
        return tuple(found)

    def _legacy_names(self) -> tuple[str, ...]:
        """tls, platform and capabilities in all combinations, as _dl_important_hwcaps orders them (before 2.37)."""
        cpu = self.start.cpu
        parts = ["tls", *(["haswell"] if cpu.haswell else []), *(["avx512_1"] if cpu.avx512_1 else []), "x86_64"]
        rows = product((True, False), repeat=len(parts))
        return tuple("".join(f"{p}/" for p, on in zip(parts, row, strict=True) if on) for row in rows if any(row))

    def _legacy_mask(self) -> int:
        cpu = self.start.cpu
        mask = HWCAP_X86_64 | HWCAP_TLS
        return mask | (HWCAP_AVX512_1 if cpu.avx512_1 else 0) | (HWCAP_HASWELL if cpu.haswell else 0)


class Musl:
    """musl's search: the environment, then the rpaths of asker and its loaders, then one system path."""

    checks_machine = False
    harmless = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG})

    def __init__(self, folders: Folders, loader: Loader, start: Start, main: Asker) -> None:
        self.folders, self.loader, self.start, self.main = folders, loader, start, main
        self._env = "" if start.secure else start.env.get("LD_LIBRARY_PATH", "")

    def candidates(self, name: str, asker: Asker) -> Iterator[Candidate]:
        """Places where the loader would find `name` for `asker`, in its order; only entries that exist."""
        if "/" in name:
            yield at(self.start.cwd, name), "path"
            return
        yield from self._in(self._env, name, "LD_LIBRARY_PATH")
        current: Asker | None = asker
        for _ in range(MAX_LIST):
            if current is None:
                break
            text = current.runpath if current.runpath is not None else current.rpath
            if text:
                rule = "DT_RUNPATH" if current.runpath is not None else "DT_RPATH"
                yield from self._in(self._expanded(text, current), name, rule)
            current = current.parent
        yield from self._in(":".join(self.loader.system), name, "musl path")

    def preloads(self, file: str) -> list[str]:
        """Names to load before all others; musl has no preload file."""
        del file
        text = "" if self.start.secure else self.start.env.get("LD_PRELOAD", "")
        return [name for name in re.split(r"[\s:]+", text[:65536]) if name][:MAX_LIST]

    def _expanded(self, text: str, asker: Asker) -> str:
        """$ORIGIN replaced; a list with any other token, or one in secure mode of the program itself, is not used."""
        if "$" not in text:
            return text
        if _MUSL_TOKEN.sub("", text).count("$") or not asker.origin or (self.start.secure and asker is self.main):
            return ""
        return _MUSL_TOKEN.sub(lambda _: asker.origin, text)

    def _in(self, text: str, name: str, rule: str) -> Iterator[Candidate]:
        for folder in re.split("[:\n]", text)[:MAX_LIST]:
            if folder:
                place = at(self.start.cwd, folder).rstrip("/") + "/"
                if self.folders.has(place, name):
                    yield place + name, rule


RULES: Final[dict[str, Callable[[Folders, Loader, Start, Asker], Glibc | Musl]]] = {"glibc": Glibc, "musl": Musl}

_COLON: Final = re.compile(":")
_TOKEN: Final = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
_MUSL_TOKEN: Final = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})")
_LEGACY_FIRST: Final = ("tls", "haswell", "avx512_1", "x86_64")
