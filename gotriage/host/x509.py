"""X.509 certificates (RFC 5280) read from DER and PEM with bounds: the few fields that matter. Nothing is verified."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.text import clean
from gotriage.records.tls import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST: Final = 4000
"""Certificates of one PEM text."""
MOST_NAMES: Final = 20
MOST_PARTS: Final = 10_000
"""Elements of one sequence."""
_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----[ \t]*\r?\n([A-Za-z0-9+/=\s]{1,200000})-----END CERTIFICATE-----"
)
"""A block with headers is left out, as AppendCertsFromPEM does (crypto/x509/cert_pool.go)."""

SEQUENCE, SET, INTEGER, OID, BOOLEAN, UTC_TIME, GENERAL_TIME = 0x30, 0x31, 0x02, 0x06, 0x01, 0x17, 0x18
DNS_NAME, IP_ADDRESS = 0x82, 0x87
COMMON_NAME, ORGANISATION, UNIT = bytes.fromhex("550403"), bytes.fromhex("55040a"), bytes.fromhex("55040b")
ALT_NAME, BASIC = bytes.fromhex("551d11"), bytes.fromhex("551d13")
RSA: Final = bytes.fromhex("2a864886f70d010101")
EC: Final = bytes.fromhex("2a8648ce3d0201")
CURVES: Final = {"2a8648ce3d030107": "P-256", "2b81040022": "P-384", "2b81040023": "P-521", "2b81040021": "P-224"}
SIGNATURES: Final = {
    "2a864886f70d010104": "MD5-RSA", "2a864886f70d010105": "SHA1-RSA", "2a864886f70d01010b": "SHA256-RSA",
    "2a864886f70d01010c": "SHA384-RSA", "2a864886f70d01010d": "SHA512-RSA", "2a864886f70d01010a": "RSA-PSS",
    "2a8648ce3d0401": "ECDSA-SHA1", "2a8648ce3d040302": "ECDSA-SHA256", "2a8648ce3d040303": "ECDSA-SHA384",
    "2a8648ce3d040304": "ECDSA-SHA512", "2b6570": "Ed25519",
}  # fmt: skip
"""Object identifiers by their bytes (RFC 3279, 5480, 5758, 8410), named as crypto/x509 does."""


class BadCertificate(ValueError):
    """The bytes are no certificate."""


class Part(NamedTuple):
    """One element: its tag, and the place of its content; `begin` is where its own header starts."""

    tag: int
    begin: int
    start: int
    end: int


def pem(data: bytes) -> Iterator[bytes]:
    """The DER of each certificate block, in order; blocks that are no base64 come as empty bytes."""
    for number, match in enumerate(_PEM.finditer(data)):
        if number >= MOST:
            return
        try:
            yield base64.b64decode(b"".join(match[1].split()), validate=True)
        except binascii.Error:
            yield b""


def parse(der: bytes) -> Certificate:
    """The fields. Raises BadCertificate."""
    try:
        return _parse(der)
    except (IndexError, ValueError, OverflowError) as error:
        raise BadCertificate(str(error)) from None


def _parse(der: bytes) -> Certificate:
    tbs, algorithm = _inside(der, _one(der, 0, len(der)))[:2]
    fields = _inside(der, tbs)
    if fields[0].tag == 0xA0:
        fields = fields[1:]  # the version
    issuer, validity, subject, key = fields[2:6]
    extensions = next((part for part in fields[6:] if part.tag == 0xA3), None)
    begins, ends = (_time(der, part) for part in _inside(der, validity))
    names, is_ca = _extensions(der, extensions) if extensions is not None else ([], False)
    same = der[issuer.begin : issuer.end] == der[subject.begin : subject.end]
    return Certificate(
        subject=_name(der, subject),
        issuer=_name(der, issuer),
        not_before=begins,
        not_after=ends,
        names=tuple(names[:MOST_NAMES]),
        names_count=len(names),
        is_ca=is_ca,
        self_signed=same,
        key=_key(der, key),
        signature=_signature(der, algorithm),
        fingerprint=hashlib.sha256(der).hexdigest(),
    )


def _one(der: bytes, at: int, limit: int) -> Part:
    """The element at that place. Raises BadCertificate, IndexError."""
    tag, size, start = der[at], der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4:
            raise BadCertificate("a length that DER does not have")
        size = int.from_bytes(der[start : start + count], "big")
        start += count
    if start + size > limit:
        raise BadCertificate("an element is longer than what holds it")
    return Part(tag, at, start, start + size)


def _inside(der: bytes, outer: Part) -> list[Part]:
    parts: list[Part] = []
    at = outer.start
    while at < outer.end:
        if len(parts) >= MOST_PARTS:
            raise BadCertificate("too many elements")
        parts.append(_one(der, at, outer.end))
        at = parts[-1].end
    return parts


def _time(der: bytes, part: Part) -> datetime:
    """UTCTime "YYMMDDHHMMSSZ", GeneralizedTime "YYYYMMDDHHMMSSZ" (RFC 5280 4.1.2.5)."""
    text = der[part.start : part.end].decode("ascii")
    if part.tag == UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif part.tag != GENERAL_TIME:
        raise BadCertificate("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _name(der: bytes, part: Part) -> str:
    """The common name, else the organisation or its unit."""
    found: dict[bytes, str] = {}
    for group in _inside(der, part):
        for pair in _inside(der, group):
            kind, value = _inside(der, pair)[:2]
            raw = der[value.start : value.end]
            text = raw.decode("utf-16-be", "replace") if value.tag == 0x1E else raw.decode("utf-8", "replace")
            found.setdefault(der[kind.start : kind.end], clean(text, 256))
    return next((found[kind] for kind in (COMMON_NAME, ORGANISATION, UNIT) if kind in found), "")


def _extensions(der: bytes, part: Part) -> tuple[list[str], bool]:
    names: list[str] = []
    is_ca = False
    for extension in _inside(der, _inside(der, part)[0]):
        pieces = _inside(der, extension)
        kind, value = pieces[0], pieces[-1]
        what = der[kind.start : kind.end]
        if what == ALT_NAME:
            names = [_alt_name(der, one) for one in _inside(der, _one(der, value.start, value.end))]
        elif what == BASIC:
            flags = _inside(der, _one(der, value.start, value.end))
            is_ca = bool(flags) and flags[0].tag == BOOLEAN and der[flags[0].start] != 0
    return [name for name in names if name], is_ca


def _alt_name(der: bytes, part: Part) -> str:
    raw = der[part.start : part.end]
    if part.tag == IP_ADDRESS and len(raw) in (4, 16):
        return str(ipaddress.ip_address(raw))
    return clean(raw.decode("latin-1"), 256) if part.tag == DNS_NAME else ""


def _key(der: bytes, part: Part) -> str:
    algorithm, bits = _inside(der, part)[:2]
    kinds = _inside(der, algorithm)
    kind = der[kinds[0].start : kinds[0].end]
    if kind == RSA:
        number = _inside(der, _one(der, bits.start + 1, bits.end))[0]
        return f"RSA {int.from_bytes(der[number.start : number.end], 'big').bit_length()}"
    if kind == EC and len(kinds) > 1:
        curve = der[kinds[1].start : kinds[1].end].hex()
        return f"ECDSA {CURVES.get(curve, 'curve ' + curve[:20])}"
    return "Ed25519" if kind.hex() == "2b6570" else f"algorithm {kind.hex()[:20]}"


def _signature(der: bytes, part: Part) -> str:
    kind = _inside(der, part)[0]
    raw = der[kind.start : kind.end].hex()
    return SIGNATURES.get(raw, f"algorithm {raw[:20]}")
