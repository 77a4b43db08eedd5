"""DNS messages (RFC 1035, section 4) as far as a look-up is concerned: name, type, answers. Written by strangers."""

from __future__ import annotations

import ipaddress
import struct
from contextlib import suppress
from typing import Final, NamedTuple

HEADER: Final = struct.Struct(">HHHHHH")
MOST_LABELS: Final = 128
MOST_JUMPS: Final = 16
MOST_RECORDS: Final = 32
TYPES: Final = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 41: "OPT", 64: "SVCB",
    65: "HTTPS", 255: "ANY",
}  # fmt: skip
CODES: Final = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
}  # fmt: skip
ANSWER: Final = 0x8000
CUT: Final = 0x0200


class Message(NamedTuple):
    """One message.

    Attributes:
        code: "NOERROR", "NXDOMAIN" ...
        answers: addresses and names, in the order of the message.
        cut: it did not fit, and is asked for again over TCP.
    """

    id: int
    answer: bool
    name: str
    type: str
    code: str
    answers: tuple[str, ...]
    cut: bool


def parse(data: bytes) -> Message | None:
    """The message, also with the length before it that TCP has; None when it is none."""
    if len(data) > 2 and int.from_bytes(data[:2], "big") in (len(data) - 2, *_whole(data)):
        inner = _parse(data[2:])
        if inner is not None:
            return inner
    return _parse(data)


def _whole(data: bytes) -> tuple[int, ...]:
    """A length over TCP that is longer than what was kept of the message."""
    return (int.from_bytes(data[:2], "big"),) if len(data) >= 512 and data[0] < 0x10 else ()


def _parse(data: bytes) -> Message | None:
    if len(data) < HEADER.size:
        return None
    number, flags, questions, answers, _, _ = HEADER.unpack_from(data)
    if questions != 1 or flags & 0x7800:  # opcode QUERY alone
        return None
    try:
        name, at = _name(data, HEADER.size)
        (kind,) = struct.unpack_from(">H", data, at)
    except (ValueError, IndexError, struct.error):
        return None
    found: list[str] = []
    if flags & ANSWER:
        with suppress(ValueError, IndexError, struct.error):  # the rest was not kept
            _answers(data, at + 4, min(answers, MOST_RECORDS), found)
    code = flags & 15
    return Message(
        id=number,
        answer=bool(flags & ANSWER),
        name=name or ".",
        type=TYPES.get(kind, f"TYPE{kind}"),
        code=CODES.get(code, f"RCODE{code}"),
        answers=tuple(found),
        cut=bool(flags & CUT),
    )


def _answers(data: bytes, at: int, count: int, found: list[str]) -> None:
    for _ in range(count):
        _, at = _name(data, at)
        kind, _, _, length = struct.unpack_from(">HHIH", data, at)
        at += 10
        body = data[at : at + length]
        if (kind == 1 and length == 4) or (kind == 28 and length == 16):
            found.append(str(ipaddress.ip_address(body)))
        elif kind in (5, 12):
            found.append(f"{TYPES[kind]} {_name(data, at)[0]}")
        at += length


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name and where it ends. Raises ValueError, IndexError for what is none."""
    labels: list[str] = []
    end, jumps = -1, 0
    while (length := data[at]) != 0:
        if length & 0xC0 == 0xC0:
            jumps += 1
            if jumps > MOST_JUMPS:
                raise ValueError("a name that leads in circles")
            end = at + 2 if end < 0 else end
            at = (length & 0x3F) << 8 | data[at + 1]
            continue
        if length > 63 or len(labels) >= MOST_LABELS or at + 1 + length > len(data):
            raise ValueError("not a name")
        labels.append(data[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels), at + 1 if end < 0 else end
