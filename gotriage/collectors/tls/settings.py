"""The target's CA bundle and the certificate files that it was given; read in its own root, nothing is sent."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gotriage.collectors.tls import roots
from gotriage.errors import GotriageError, NotPermitted, reason_of
from gotriage.goruntime import buildinfo
from gotriage.goruntime.elf import Elf, ElfError, NotElf
from gotriage.host import clock, executable, x509
from gotriage.host.inroot import InRoot
from gotriage.host.rights import Rights, rights_of
from gotriage.records.base import Why
from gotriage.records.text import clean
from gotriage.records.tls import Certificate, GivenCertificate, Tls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gotriage.collectors.tls.roots import Pool
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

MOST_GIVEN: Final = 20
GIVEN_LIMIT: Final = 1024 * 1024
SHOWN_CHAIN: Final = 4
_ENDINGS: Final = (".pem", ".crt", ".cer", ".cert")
_PATH: Final = re.compile(r"^/[^\0\n:]{1,1023}$")
EMBEDDED: Final = (
    "golang.org/x/crypto/x509roots/fallback",
    "github.com/breml/rootcerts",
    "github.com/gwatts/rootcerts",
    "github.com/certifi/gocertifi",
)
"""Modules that bring roots along: x509.SetFallbackRoots of Go 1.20, and older ways."""


def opened_root(host: Host, pid: int) -> InRoot:
    """The target's root. Raises NotPermitted."""
    try:
        return InRoot(host.proc.path(pid, "root"))
    except PermissionError as error:
        raise NotPermitted("the target's root: permission denied; run gotriage as root (sudo)") from error


def rights(host: Host, pid: int) -> Rights | None:
    """Whose rights count; None when that cannot be told."""
    try:
        return rights_of(host, pid)
    except (GotriageError, KeyError, ValueError):
        return None


def named(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> list[tuple[str, str]]:
    """Paths that look like certificates, and what names them: of arguments, also -flag=path, and variables."""
    found: dict[str, str] = {}
    words = [(word.rpartition("=")[2], f"argument {place}") for place, word in enumerate(argv[1:], 1)]
    words += [(value, name) for name, value in env.items() if name not in (roots.FILE_VARIABLE, "SSL_CERT_DIR")]
    for word, source in words:
        path = word if word.startswith("/") or not cwd.startswith("/") else f"{cwd.rstrip('/')}/{word}"
        if path.lower().endswith(_ENDINGS) and _PATH.match(path):
            found.setdefault(path, source)
    return list(found.items())[:MOST_GIVEN]


class TlsCollector:
    """One `Tls` a look."""

    backend = "the files of crypto/x509"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._embedded = ""
        self._program_of: executable.Identity | None = None

    def collect(self) -> Iterator[Record]:
        """Look once."""
        pid = self._target.pid
        if pid is None:
            return
        unknown: dict[str, Why] = {}
        env: dict[str, str] = {}
        now = clock.now()
        try:
            env = self._host.proc.environ(pid)
        except NotPermitted as error:
            unknown["variables"] = Why(reason_of(error), permission=True)
        cwd = self._host.proc.link(pid, "cwd")
        with opened_root(self._host, pid) as root:
            pool = roots.load(root, env, rights(self._host, pid), now)
            given = [_given(root, path, source) for path, source in named(self._host.proc.cmdline(pid), env, cwd)]
        yield _record(pool, now, unknown, pid=pid, embedded=self._brought(pid),
                      given=tuple(one for one in given if one is not None), variables=_variables(env))  # fmt: skip

    def _brought(self, pid: int) -> str:
        """The module with roots that the program brings along; read once a file."""
        try:
            identity = executable.identity(self._host, pid)
            if identity != self._program_of:
                with Elf(self._host.proc.path(pid, "exe")) as elf:
                    info = buildinfo.read(elf)
                modules = [module.path for module in info.deps] if info is not None else []
                self._embedded = next((path for path in EMBEDDED if path in modules), "")
                self._program_of = identity
        except (NotElf, ElfError, GotriageError, OSError):
            return ""
        return self._embedded

    def close(self) -> None:
        """Nothing is held."""


def _record(pool: Pool, now: datetime, unknown: dict[str, Why], **more: object) -> Tls:
    alive = [one.not_after for one in pool.certificates.values() if one.not_after >= now]
    return Tls(
        at=now,
        unknown=unknown,
        roots=len(pool.certificates),
        expired=len(pool.certificates) - len(alive),
        next_expiry=min(alive, default=None),
        sources=tuple(pool.sources),
        **more,  # type: ignore[arg-type]  # fields of the record by name
    )


def _given(root: InRoot, path: str, source: str) -> GivenCertificate | None:
    """What the file holds; None for one that has no certificate in it (a key) or is not there."""
    shown = clean(path, 1024)
    try:
        data = root.read(path, GIVEN_LIMIT)
        changed = datetime.fromtimestamp(int(root.stat(path).st_mtime), UTC)
    except FileNotFoundError:
        return None
    except (OSError, OverflowError, ValueError) as error:
        return GivenCertificate(shown, clean(source, 256), reason=clean(str(error), 100))
    chain: list[Certificate] = []
    count = 0
    for der in x509.pem(data):
        count += 1
        if len(chain) < SHOWN_CHAIN:
            try:
                chain.append(x509.parse(der))
            except x509.BadCertificate:
                continue
    return GivenCertificate(shown, clean(source, 256), tuple(chain), count, changed) if chain else None


def _variables(env: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in (roots.FILE_VARIABLE, roots.DIRECTORY_VARIABLE) if name in env]
    if "x509" in env.get("GODEBUG", "") or "tls" in env.get("GODEBUG", ""):
        names.append("GODEBUG")
    return {name: clean(env[name], 1024) for name in names}
