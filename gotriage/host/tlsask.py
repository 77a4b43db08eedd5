"""TLS handshakes from a network namespace, to see what a server sends and whether a set of authorities verifies it.

The child joins only the network namespace and gives root away before it meets the other side. OpenSSL speaks; it loads
no authorities of this machine's, and no name is resolved.
"""

from __future__ import annotations

import _ssl
import encodings.idna  # noqa: F401  used for server names; nothing is imported in the child
import socket
import ssl
from contextlib import suppress
from typing import Final

import msgspec

from gotriage.host import clock
from gotriage.host.dnsask import give_root_away
from gotriage.host.forked import in_child, join_namespace

MOST: Final = 8
"""Endpoints at once."""
MOST_CHAIN: Final = 10
"""Certificates of a chain."""
LARGEST: Final = 64 * 1024
"""Bytes of one certificate."""


class Endpoint(msgspec.Struct, frozen=True, array_like=True):
    """Whom to greet: an address and a port, the name to ask for, and whether to verify what comes."""

    address: str
    port: int
    server_name: str = ""
    verify: bool = False


class Met(msgspec.Struct, frozen=True, array_like=True):
    """What came: the protocol and the chain as DER; why there is none; whether it was verified, and why not."""

    protocol: str = ""
    chain: list[bytes] = []
    error: str = ""
    seconds: float | None = None
    verified: bool | None = None
    problem: str = ""


def greet(net: str, endpoints: list[Endpoint], authorities: list[bytes], timeout: float) -> list[Met]:
    """A handshake with each, one after the other, from the namespace of a /proc/PID/ns/net file.

    `authorities` are certificates as DER; what OpenSSL does not read is left out. Takes two `timeout`s for each. Raises
    NotPermitted, OSError, TimeoutError.
    """
    chosen = endpoints[:MOST]

    def work() -> bytes:
        join_namespace(net)
        give_root_away()
        return msgspec.msgpack.encode([_greet(one, authorities, timeout) for one in chosen])

    return msgspec.msgpack.decode(in_child(work, timeout * 2 * len(chosen) + 3.0), type=list[Met])


def _greet(one: Endpoint, authorities: list[bytes], timeout: float) -> Met:
    if not one.verify:
        return _shake(one, _context([]), timeout)
    context = _context(authorities, names=bool(one.server_name))
    met = _shake(one, context, timeout)
    if met.verified is not False:
        return met
    again = _shake(one, _context([]), timeout)  # only without verifying does the chain come to us
    return msgspec.structs.replace(again, verified=False, problem=met.problem)


def _context(authorities: list[bytes], *, names: bool = False) -> ssl.SSLContext:
    """One that says yes to whatever comes, or that verifies as Go does: each certificate of the pool is an anchor."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if authorities:
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = names
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        _load(context, authorities)
    return context


def _load(context: ssl.SSLContext, authorities: list[bytes]) -> None:
    """All at once, else one by one without those that OpenSSL does not read."""
    try:
        context.load_verify_locations(cadata=b"".join(authorities))
    except ssl.SSLError:
        for one in authorities:
            with suppress(ssl.SSLError):
                context.load_verify_locations(cadata=one)


def _shake(one: Endpoint, context: ssl.SSLContext, timeout: float) -> Met:
    began = clock.monotonic()
    verifies = context.verify_mode == ssl.CERT_REQUIRED
    try:
        with (
            socket.create_connection((one.address, one.port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=one.server_name or None, do_handshake_on_connect=False) as link,
        ):
            link.settimeout(max(0.1, timeout - (clock.monotonic() - began)))
            link.do_handshake()
            took = clock.monotonic() - began
            return Met(link.version() or "", _chain(link), seconds=took, verified=True if verifies else None)
    except ssl.SSLCertVerificationError as error:
        return Met(verified=False, problem=error.verify_message)
    except ssl.SSLError as error:
        return Met(error=_words(error))
    except TimeoutError:
        return Met(error=f"no answer in {timeout:g} s")
    except (OSError, ValueError) as error:
        return Met(error=(getattr(error, "strerror", "") or str(error)).lower())


def _chain(link: ssl.SSLSocket) -> list[bytes]:
    """As it was sent; where Python (before 3.13) does not give all of it, the server's own certificate."""
    found: list[bytes] = []
    with suppress(AttributeError, ssl.SSLError):
        inner = link._sslobj  # type: ignore[attr-defined]  # public as SSLSocket.get_unverified_chain from 3.13 on
        found = [one.public_bytes(_ssl.ENCODING_DER) for one in inner.get_unverified_chain() or ()]
    if not found:
        own = link.getpeercert(binary_form=True)
        found = [own] if own else []
    return [der for der in found[:MOST_CHAIN] if len(der) <= LARGEST]


def _words(error: ssl.SSLError) -> str:
    """OpenSSL's reason in plain words."""
    text = (error.reason or str(error)).replace("_", " ").lower()
    known = {
        "wrong version number": "it does not speak TLS",
        "http request": "it does not speak TLS",
        "record layer failure": "it does not speak TLS",
        "unexpected eof while reading": "it closed the connection",
    }
    return known.get(text, text)
