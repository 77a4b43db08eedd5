"""DNS messages (RFC 1035 section 4.1, EDNS by RFC 6891): a question as bytes, an answer read with bounds."""

from __future__ import annotations

import ipaddress
import struct
from typing import Final, NamedTuple

TYPES: Final = {"A": 1, "NS": 2, "CNAME": 5, "AAAA": 28}
RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
"""RFC 1035 section 4.1.1."""
EDNS_SIZE: Final = 1232
"""Bytes of a UDP answer that we take: what package net offers (net/dnsclient.go, maxDNSPacketSize)."""
MOST_RECORDS: Final = 256
MOST_LABELS: Final = 128
"""A name has 127 labels at most (255 bytes); more is a loop of pointers."""
OPT: Final = 41


class Message(NamedTuple):
    """What an answer says: its rcode by name, whether it was cut, and the answers as (type, text, ttl)."""

    rcode: str
    truncated: bool
    answers: tuple[tuple[str, str, int], ...]


class BadMessage(ValueError):
    """The bytes are no DNS answer."""


def valid_name(name: str) -> bool:
    """Whether the name can be asked: labels of 1 to 63 bytes, 253 together; letters, digits, "-" and "_"."""
    labels = name.rstrip(".").split(".")
    if name == ".":
        return True
    return len(name) <= 254 and all(
        0 < len(label) <= 63 and label.isascii() and label.replace("-", "a").replace("_", "a").isalnum()
        for label in labels
    )


def question(number: int, name: str, kind: str) -> bytes:
    """A query that asks for recursion, with EDNS. `name` must be a `valid_name`."""
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    packed = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    head = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 1)
    return head + packed + struct.pack("!HH", TYPES[kind], 1) + struct.pack("!BHHIH", 0, OPT, EDNS_SIZE, 0, 0)


def asked(data: bytes, number: int, name: str, kind: str) -> bool:
    """Whether the bytes answer that question: a stranger's or a late answer does not."""
    if len(data) < 12 or struct.unpack_from("!H", data)[0] != number or not data[2] & 0x80:
        return False
    if struct.unpack_from("!H", data, 4)[0] == 0:
        return True  # servers that did not understand the question may leave it out (RFC 1035 4.1.1, FORMERR)
    try:
        known, place = _name(data, 12)
        kinds = struct.unpack_from("!HH", data, place)
    except (BadMessage, struct.error):
        return False
    return known.lower() == name.rstrip(".").lower() and kinds == (TYPES[kind], 1)


def parse(data: bytes) -> Message:
    """The answer. Raises BadMessage."""
    if len(data) < 12:
        raise BadMessage("shorter than a header")
    _, flags, questions, answers = struct.unpack_from("!HHHH", data)
    place, found = 12, []
    try:
        for _ in range(min(questions, 4)):
            _, place = _name(data, place)
            place += 4
        for _ in range(min(answers, MOST_RECORDS)):
            _, place = _name(data, place)
            kind, _, ttl, size = struct.unpack_from("!HHIH", data, place)
            place += 10
            text = _text(data, kind, place, size)
            if text is not None:
                found.append((*text, ttl & 0x7FFFFFFF))
            place += size
    except struct.error:
        if not flags & 0x0200:
            raise BadMessage("it ends in the middle of a record") from None
    rcode = flags & 0xF
    return Message(RCODES.get(rcode, f"rcode {rcode}"), bool(flags & 0x0200), tuple(found))


def _text(data: bytes, kind: int, place: int, size: int) -> tuple[str, str] | None:
    """A record of a type that we ask for, as its type and text; None for others. Raises BadMessage, struct.error."""
    raw = data[place : place + size]
    if len(raw) < size:
        raise struct.error
    if kind == TYPES["A"] and size == 4:
        return "A", str(ipaddress.IPv4Address(raw))
    if kind == TYPES["AAAA"] and size == 16:
        return "AAAA", str(ipaddress.IPv6Address(raw))
    if kind in (TYPES["CNAME"], TYPES["NS"]):
        return "CNAME" if kind == TYPES["CNAME"] else "NS", _name(data, place)[0] or "."
    return None


def _name(data: bytes, place: int) -> tuple[str, int]:
    """The name at that place without the last dot, and where it ends. Raises BadMessage."""
    labels: list[str] = []
    end = -1
    for _ in range(MOST_LABELS):
        if place >= len(data):
            raise BadMessage("a name leads out of the message")
        size = data[place]
        if size & 0xC0 == 0xC0:
            if place + 1 >= len(data):
                raise BadMessage("a name leads out of the message")
            end = place + 2 if end < 0 else end
            place = (size & 0x3F) << 8 | data[place + 1]
        elif size & 0xC0:
            raise BadMessage("a label of an unknown kind")
        elif size == 0:
            return ".".join(labels), place + 1 if end < 0 else end
        else:
            labels.append(data[place + 1 : place + 1 + size].decode("latin-1"))
            place += 1 + size
    raise BadMessage("a name without an end")
