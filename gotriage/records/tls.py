"""Whom the target trusts, which certificates it was given, serves, and meets; times are UTC, sizes bytes."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from gotriage.records.base import Record, Row
from gotriage.records.dns import Trap


class Certificate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What matters of an X.509 certificate (RFC 5280).

    Attributes:
        subject, issuer: the common name, else the organisation.
        names: host names and addresses of the SubjectAltName extension, at most 20 of `names_count`.
        key: "RSA 2048", "ECDSA P-256", "Ed25519"; signature: "SHA256-RSA" ...
        fingerprint: SHA-256 of the whole certificate, hexadecimal.
    """

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...] = ()
    names_count: int = 0
    is_ca: bool = False
    self_signed: bool = False
    key: str = ""
    signature: str = ""
    fingerprint: str = ""


class TrustSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file or directory in which Go looks for certificate authorities.

    Attributes:
        source: "SSL_CERT_FILE", "SSL_CERT_DIR", or "Go's list".
        state: "loaded", "missing", "unreadable", "empty" (no certificate in it), "passed over" (one file is enough).
        certificates: how many it holds; `expired`, `broken` (not to be parsed) among them.
        reason: why it is unreadable.
    """

    path: str
    source: str
    state: str
    directory: bool = False
    certificates: int | None = None
    expired: int = 0
    broken: int = 0
    reason: str = ""


class GivenCertificate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file with certificates that the target was given by name.

    Attributes:
        source: "argument 3", or the variable.
        chain: its first certificates, at most 4 of `count`.
        changed_at: when the file was changed; a program reads it at its start, as a rule.
        reason: why it cannot be read.
    """

    path: str
    source: str
    chain: tuple[Certificate, ...] = ()
    count: int = 0
    changed_at: datetime | None = None
    reason: str = ""

    @property
    def is_bundle(self) -> bool:
        """Several authorities to trust, of which some may be old; a server's chain begins with its own."""
        return self.count > 1 and bool(self.chain) and self.chain[0].is_ca


class Tls(Record, frozen=True, kw_only=True, tag="tls"):
    """The target's CA bundle as Go would load it, and certificate files that it was given. Nothing was sent.

    Attributes:
        roots: different certificates in the pool; None when the target's files may not be read.
        expired: how many of them have expired; `next_expiry`: when the next one will.
        sources: where Go looks, in its order.
        embedded: the module with which the program brings roots of its own, "" for none.
        variables: SSL_CERT_FILE, SSL_CERT_DIR, and GODEBUG where it is about certificates.
    """

    keep: ClassVar[int] = 30

    pid: int | None = None
    roots: int | None = None
    expired: int | None = None
    next_expiry: datetime | None = None
    sources: tuple[TrustSource, ...] = ()
    embedded: str = ""
    given: tuple[GivenCertificate, ...] = ()
    variables: dict[str, str] = {}


class Handshake(Row, frozen=True, kw_only=True):
    """One TLS handshake with an own listener or a peer.

    Attributes:
        own: it is a listener of the target's own; those are not verified, as their clients do that.
        server_name: the name that was asked for (SNI), "" for none.
        protocol: "TLSv1.3"; "" without a handshake.
        seconds: connect and handshake.
        error: why there was no handshake.
        chain: as it was sent, the server's own certificate first.
        verified: by the target's CA bundle, for that name; None when it was not tried.
        problem: why it was not verified, in the words of the verifier.
    """

    address: str
    own: bool = False
    server_name: str = ""
    protocol: str = ""
    seconds: float | None = None
    error: str = ""
    chain: tuple[Certificate, ...] = ()
    verified: bool | None = None
    problem: str = ""


class TlsChecks(Record, frozen=True, kw_only=True, tag="tls_checks"):
    """Handshakes from inside the target's network namespace, on request."""

    keep: ClassVar[int] = 20

    rows: tuple[Handshake, ...] = ()
    traps: tuple[Trap, ...] = ()
    roots: int | None = None
    """With how many certificates of the target's bundle it was verified."""
