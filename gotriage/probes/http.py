"""How the maps of http.bpf.c lie, and the heads of requests that are in them."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from gotriage.records.http import SLOTS
from gotriage.records.text import clean

AT_SOCKETS: Final = ("received", "sent")
AT_ALL_CALLS: Final = ("any_call",)
TRACEPOINT: Final = "sock_recv_length"

UNKNOWN, HTTP1, TLS, HTTP2, UPGRADED, URING = range(6)
"""enum kind."""
EITHER, SERVER, CLIENT = range(3)
"""enum role."""
IDLE, HEAD, ASKED = range(3)
"""enum phase."""
UNANSWERED: Final = 0
HITS, LOST, SLOW_LOST, UNMATCHED = range(4)
"""Counters of the map `meter`."""
CLASSES: Final = 6
ROOM, TAKE, LINE = 256, 192, 32
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10

CONN: Final = np.dtype(
    [
        ("kind", "u1"), ("role", "u1"), ("phase", "u1"), ("said", "u1"), ("have", "<u2"), ("family", "<u2"),
        ("era", "<u4"), ("look", "<u4"), ("tgid", "<u4"), ("tid", "<u4"), ("fd", "<u4"), ("calls", "<u4"),
        ("requests", "<u4"), ("status", "<u4"), ("local", "<u2"), ("remote", "<u2"), ("place", "<u2"), ("pad", "<u2"),
        ("began", "<u8"), ("took", "<u8"), ("goid", "<u8"), ("hash", "<u8"),
        ("address", "V16"), ("segment", "V32"), ("line", f"V{LINE}"), ("head", f"V{ROOM}"),
    ]
)  # fmt: skip
ROUTE: Final = np.dtype([("hash", "<u8"), ("status", "<u4"), ("role", "<u4")])
TOTAL: Final = np.dtype(
    [
        ("most", "<u8"), ("look", "<u4"), ("have", "<u2"), ("family", "<u2"),
        ("remote", "<u2"), ("pad", "<u2"), ("slots", "<u4", (SLOTS,)), ("address", "V16"), ("head", f"V{TAKE}"),
        ("end", "V4"),
    ]
)  # fmt: skip
CONTROL: Final = np.dtype([("era", "<u4"), ("look", "<u4"), ("slow", "<u8"), ("told", "<u8")])


class Head(NamedTuple):
    """The first line of a request, and the name that it asks: what of it the kernel has seen."""

    method: str
    path: str
    host: str = ""


def parse_head(raw: bytes) -> Head:
    """From the first bytes of a request; the path without its query. Never fails: what is not there is "".

    A path that was cut off ends in "…". Of "GET http://host/path", as proxies are asked, the host is the host.
    """
    line, newline, rest = raw.partition(b"\n")
    method, _, target = line.partition(b" ")
    target, space, _ = target.partition(b" ")
    whole = bool(space or newline)
    path, query, _ = target.partition(b"?")
    host = b""
    if path[:7].lower() == b"http://":
        host, slash, path = path[7:].partition(b"/")
        path = slash + path
    field, _, value = rest.partition(b":")
    if field.lower() == b"host" and b"\r" in value:
        host = value.partition(b"\r")[0].strip(b" \t")
    cut = "" if whole or query else "…"
    return Head(clean(method, 16), clean(path, TAKE) + cut, clean(host, 128))
