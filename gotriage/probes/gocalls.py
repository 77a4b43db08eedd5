"""What the maps of gohttp.bpf.c say, in the words of the records: calls that ended, in flight, slow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gotriage.probes import gohttp
from gotriage.probes.tallies import Flying, Key, Tally
from gotriage.records.http import (
    FAILED,
    GRPC,
    OTHER_ROUTES,
    PANIC,
    SLOTS,
    CallKind,
    Direction,
    HttpCall,
    slot_start,
)
from gotriage.records.routes import route_of
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gotriage.probes.tallies import Now

MOST_NAMES: Final = 20_000
GONE: Final = 2.0
"""Seconds after a panic from which on a request that has not ended is taken to have ended by it."""
KINDS: Final[dict[int, tuple[Direction, CallKind]]] = {
    gohttp.SERVER: ("in", "http"),
    gohttp.CLIENT: ("out", "http"),
    gohttp.QUERY: ("out", "sql"),
    gohttp.HANDSHAKE: ("in", "tls"),
    gohttp.RPC_SERVER: ("in", "grpc"),
    gohttp.RPC_CLIENT: ("out", "grpc"),
}


class Calls:
    """What one trace has seen."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._named: dict[bytes, tuple[Key, str]] = {}
        self._before: dict[bytes, NDArray[np.int64]] = {}
        self._protocols: dict[Key, Key] = {}

    # -- names

    def _name(self, route: np.void, sample: bytes) -> tuple[Key, str]:
        raw = route.tobytes()
        known = self._named.get(raw)
        if known is None:
            if len(self._named) >= MOST_NAMES:
                self._named.clear()
            known = self._named[raw] = (key_of(route, sample), status_of(route))
        return known

    def _with_protocol(self, key: Key) -> Key:
        """Of a client's requests only an answer tells the protocol: until there is one, that of the last answer."""
        if key.call != "http" or key.direction != "out":
            return key
        plain = key._replace(protocol="")
        if key.protocol and len(self._protocols) < MOST_NAMES:
            self._protocols[plain] = key
        return self._protocols.get(plain, key)

    # -- what ended

    def ended(self, routes: NDArray[Any], totals: NDArray[Any], look: int) -> Iterator[tuple[Key, Tally]]:
        """What has come in a look since the one before; `look` is its number."""
        for route, total in zip(routes, totals, strict=True):
            raw, slots = route.tobytes(), total["slots"].astype(np.int64)
            before = self._before.get(raw)
            new = slots if before is None else slots - before
            if not new.any():
                continue
            self._before[raw] = slots
            longest = int(total["most"]) / 1e9 if int(total["look"]) == look else 0.0
            yield self._tally(route, bytes(total["sample"]), new, longest)

    def forget(self, route: np.void) -> None:
        """It is taken out of the kernel's table, and begins with nothing when it comes again."""
        self._before.pop(route.tobytes(), None)

    def panicked(self, running: NDArray[Any]) -> Iterator[tuple[Key, Tally]]:
        """Requests that a panic ended, as the kernel would have counted them."""
        for one in running:
            route, took = one["route"].copy(), (int(one["panicked"]) - int(one["began"])) / 1e9
            route["failed"] = gohttp.PANICKED
            slots = np.zeros(SLOTS, np.int64)
            slots[next((slot for slot in range(SLOTS - 1) if slot_start(slot + 1) > took), SLOTS - 1)] = 1
            yield self._tally(route, bytes(one["sample"]), slots, took)

    def _tally(self, route: np.void, sample: bytes, slots: NDArray[np.int64], longest: float) -> tuple[Key, Tally]:
        key, status = self._name(route, sample)
        return self._with_protocol(key), Tally({status: int(slots.sum())}, slots, longest, text_of(sample))

    # -- calls one by one

    def slow(self, events: NDArray[Any], now: Now) -> Iterator[HttpCall]:
        """Slow calls that ended."""
        for one in events:
            yield self._call(one, now, int(one["took"]))

    def in_flight(
        self, running: NDArray[Any], now: Now, limit: int
    ) -> tuple[tuple[HttpCall, ...], Mapping[Key, Flying]]:
        """Calls that have not ended, the oldest first, and how many there are by row."""
        flying: dict[Key, Flying] = {}
        oldest_first = running[np.argsort(running["began"])]
        for one in oldest_first:
            key = self._with_protocol(self._name(one["route"], bytes(one["sample"]))[0])
            flying[key] = flying.get(key, Flying()).with_one(now.age(int(one["began"])))
        return tuple(self._call(one, now, None) for one in oldest_first[:limit]), flying

    def _call(self, one: np.void, now: Now, took: int | None) -> HttpCall:
        key, status = self._name(one["route"], bytes(one["sample"]))
        key = self._with_protocol(key)
        return HttpCall(
            **key._asdict(),
            path=text_of(one["sample"]) or key.route,
            status=status if took is not None else "",
            began=now.at(int(one["began"])),
            seconds=round(took / 1e9, 6) if took is not None else now.age(int(one["began"])),
            pid=self._pid,
            goroutine=int(one["goid"]) or None,
        )


def unwound(running: NDArray[Any], now: Now) -> NDArray[np.bool_]:
    """Those whose handler panicked a while ago, and has not come back."""
    ages = now.monotonic - running["panicked"].astype(np.float64) / 1e9
    result: NDArray[np.bool_] = (running["panicked"] != 0) & (ages > GONE)
    return result


# -- names


def text_of(raw: object) -> str:
    """A text of the target's, cut off as the kernel read it."""
    return clean(raw if isinstance(raw, bytes) else str(raw), gohttp.TEXT)


def status_of(route: np.void) -> str:
    """How it ended, in words."""
    failed, status, kind = int(route["failed"]), int(route["status"]), int(route["kind"])
    if failed:
        return PANIC if failed == gohttp.PANICKED else FAILED
    if kind in (gohttp.RPC_SERVER, gohttp.RPC_CLIENT):
        return GRPC[status] if status < len(GRPC) else f"code {status}"
    return "OK" if kind in (gohttp.QUERY, gohttp.HANDSHAKE) else str(status)


def key_of(route: np.void, sample: bytes) -> Key:
    """The row that a route of the kernel's counts in."""
    kind, op = int(route["kind"]), int(route["op"])
    direction, call = KINDS.get(kind, ("in", "http"))
    if kind == gohttp.QUERY:
        lines = bytes(route["text"]).split()
        return Key(direction, call, method=gohttp.SQL_WORDS.get(op, ""), route=statement(text_of(b" ".join(lines))))
    text = text_of(route["text"])
    if kind == gohttp.HANDSHAKE:
        return Key("in" if op == gohttp.TLS_SERVER else "out", call, method="handshake")
    if call == "grpc":
        return Key(direction, call, "HTTP/2", route=text)
    method = clean(bytes(route["method"]), gohttp.METHOD)
    if not text and not method:
        return Key(direction, call, route=OTHER_ROUTES)
    peer = clean(bytes(route["host"]), gohttp.HOST)
    name = route_of(text_of(sample)) if sample else text
    return Key(direction, call, gohttp.PROTOCOLS.get(op, ""), method or "GET", name or "/", peer)


_QUOTED = re.compile(r"'[?']*'?")
_MASKED = re.compile(r"\?+")
_DOUBLE = re.compile(r'"([^"]*)"?')
_LIST = re.compile(r"\(\s*(?:\?|\$[0-9]+)(?:\s*,\s*(?:\?|\$[0-9]+))+\s*\)")


def statement(text: str) -> str:
    """A query whose values the kernel has masked, in its shortest form; of double quotes only names stay."""
    text = _DOUBLE.sub(lambda match: match[0] if match[1].isidentifier() else "?", _QUOTED.sub("?", text))
    text = _MASKED.sub("?", text)
    return " ".join(_LIST.sub("(?, ...)", text).split())
