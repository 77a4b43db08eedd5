"""The certificate authorities that Go would load: crypto/x509, root_unix.go and root_linux.go (Go 1.18 to 1.26)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gotriage.host import x509
from gotriage.host.rights import Rights, refusal
from gotriage.records.text import clean
from gotriage.records.tls import TrustSource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from gotriage.host.inroot import InRoot
    from gotriage.records.tls import Certificate

FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""The first one that can be read is taken."""
DIRECTORIES: Final = ("/etc/ssl/certs", "/etc/pki/tls/certs")
"""All are read, besides the file."""
FILE_VARIABLE, DIRECTORY_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"
LIST: Final = "Go's list"
LIMIT: Final = 8 * 1024 * 1024
"""Bytes of a file that are read; a usual bundle has 200 KB."""
MOST_FILES: Final = 2000
MOST_BYTES: Final = 32 * 1024 * 1024
"""Of all files of all directories."""
MOST_DIRECTORIES: Final = 16


@dataclass(slots=True)
class Pool:
    """What Go would have in its pool: certificates by their DER bytes, and where it looked."""

    certificates: dict[bytes, Certificate] = field(default_factory=dict)
    sources: list[TrustSource] = field(default_factory=list)
    read: int = 0
    """Bytes so far."""


def load(root: InRoot, env: Mapping[str, str], who: Rights | None, now: datetime) -> Pool:
    """As loadSystemRoots does, in the target's root; `who` is whose rights count, None when that cannot be told."""
    pool = Pool()
    own_file = env.get(FILE_VARIABLE, "")
    taken = False
    for path in (own_file,) if own_file else FILES:
        source = FILE_VARIABLE if own_file else LIST
        if taken:
            state = "passed over" if root.exists(path) else "missing"
            pool.sources.append(TrustSource(clean(path, 1024), source, state))
            continue
        found = _file(root, path, source, who, pool, now)
        pool.sources.append(found)
        taken = found.state in ("loaded", "empty")
    listed = env.get(DIRECTORY_VARIABLE, "")
    for path in listed.split(":")[:MOST_DIRECTORIES] if listed else DIRECTORIES:
        pool.sources.append(_directory(root, path, DIRECTORY_VARIABLE if listed else LIST, who, pool, now))
    return pool


def _file(root: InRoot, path: str, source: str, who: Rights | None, pool: Pool, now: datetime) -> TrustSource:
    shown = clean(path, 1024)
    if not path.startswith("/"):
        return TrustSource(shown, source, "unreadable", reason="a relative path: it depends on the working directory")
    try:
        if reason := _denied(root, path, who):
            return TrustSource(shown, source, "unreadable", reason=reason)
        data = root.read(path, LIMIT)
    except FileNotFoundError:
        return TrustSource(shown, source, "missing")
    except OSError as error:
        return TrustSource(shown, source, "unreadable", reason=clean(error.strerror or str(error), 100))
    count, expired, broken = _add(data, pool, now)
    return TrustSource(
        shown, source, "loaded" if count else "empty", certificates=count, expired=expired, broken=broken
    )


def _denied(root: InRoot, path: str, who: Rights | None) -> str:
    """Why it may not be read; "" when it may, or nobody knows. Raises OSError."""
    step = refusal(root, path, "r", who) if who is not None else None
    return f"uid {who.who.uid} may not read {clean(step.path, 200)} (mode {step.mode})" if who and step else ""


def _add(data: bytes, pool: Pool, now: datetime) -> tuple[int, int, int]:
    """Certificates of a PEM text into the pool: how many, of them expired; and how many could not be parsed."""
    count = expired = broken = 0
    pool.read += len(data)
    for der in x509.pem(data):
        try:
            one = pool.certificates.get(der) or x509.parse(der)
        except x509.BadCertificate:
            broken += 1
            continue
        pool.certificates[der] = one
        count += 1
        expired += one.not_after < now
    return count, expired, broken


def _directory(root: InRoot, path: str, source: str, who: Rights | None, pool: Pool, now: datetime) -> TrustSource:
    """Every file but links that stay in the directory: those are other names of files in it (isSameDirSymlink)."""
    shown = clean(path, 1024)
    try:
        if reason := _denied(root, path, who):
            return TrustSource(shown, source, "unreadable", directory=True, reason=reason)
        names = root.names(path, MOST_FILES)
        place = root.folder(path)
    except FileNotFoundError:
        return TrustSource(shown, source, "missing", directory=True)
    except OSError as error:
        reason = clean(error.strerror or str(error), 100)
        return TrustSource(shown, source, "unreadable", directory=True, reason=reason)
    before = len(pool.certificates)
    expired = broken = 0
    try:
        for name in names:
            if pool.read > MOST_BYTES or _stays(place, name):
                continue
            try:
                found = _add(root.read(f"{path}/{name}", LIMIT), pool, now)
            except OSError:
                continue
            expired, broken = expired + found[1], broken + found[2]
    finally:
        os.close(place)
    more = len(pool.certificates) - before
    state = "loaded" if more or pool.certificates else "empty"
    return TrustSource(shown, source, state, directory=True, certificates=more, expired=expired, broken=broken)


def _stays(place: int, name: str) -> bool:
    """Whether it is a link to another name in the same directory."""
    try:
        if not stat.S_ISLNK(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
            return False
        return "/" not in os.readlink(name, dir_fd=place)
    except OSError:
        return False
