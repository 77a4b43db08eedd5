"""Raw events as what happened: pairs put together (a program's start and end, a question and its answer), in words."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import replace

from gotriage.collectors.probes import dns, words
from gotriage.collectors.probes.raw import PATH, STACK, Raw
from gotriage.host.callnames import call_name
from gotriage.probes import library
from gotriage.probes.library import BY_ID
from gotriage.records.probes import ProbeEvent
from gotriage.records.secrets import mask_argv
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

MOST_OPEN: Final = 4096
"""Programs that run, questions without an answer: those beyond are forgotten, the oldest first."""
NO_ANSWER: Final = 5.0
"""Seconds after which a DNS question counts as unanswered: what resolvers wait by default (resolv.conf(5), timeout)."""
WHAT, SHORT = 1024, 256
"""Characters of texts that are kept."""
MOST_FRAMES: Final = 40


class Look(Protocol):
    """What has to be looked up elsewhere."""

    def wall(self, at: int) -> datetime:
        """Nanoseconds of CLOCK_MONOTONIC as time of day."""
        ...

    def frames(self, pcs: Sequence[int]) -> Sequence[Sequence[str]]:
        """Names of functions at return addresses, the innermost first; empty outside of Go code."""
        ...

    def caller(self, stack: Sequence[str]) -> str:
        """Of a stack, the function of the program's own that is on it, the innermost."""
        ...

    def path(self, pid: int, fd: int, name: str) -> str:
        """The file behind a descriptor, when it still is the one of that name; else the name."""
        ...


class Events:
    """Makes events of raw ones; keeps what it needs to put pairs together."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._number = 0
        self._programs: OrderedDict[int, ProbeEvent] = OrderedDict()
        self._questions: OrderedDict[tuple[int, int, int, str], tuple[int, ProbeEvent]] = OrderedDict()
        self._cycle: tuple[int, ProbeEvent] | None = None
        self._cycles = 0
        self._makers: dict[int, Callable[[Raw], Iterator[ProbeEvent]]] = {
            library.EXECED: self._execed,
            library.EXITED: self._exited,
            library.EXEC_FAILED: self._exec_failed,
            library.SIGNALLED: self._signalled,
            library.OOM_KILLED: self._oom_killed,
            library.OPENED: self._opened,
            library.ACCEPTED: self._accepted,
            library.ASKED: self._dns,
            library.ANSWERED: self._dns,
            library.SLOW_FILE: self._slow_file,
            library.CONNECTED: self._connected,
            library.RETRANSMITTED: self._trouble,
            library.RESET_SENT: self._trouble,
            library.RESET_CAME: self._trouble,
            library.QUEUED: self._waited,
            library.THROTTLED: self._waited,
            library.GC_BEGUN: self._collection,
            library.GC_MARKED: self._collection,
            library.PANICKED: self._panicked,
        }

    def feed(self, raw: Raw) -> Iterator[ProbeEvent]:
        """What the event says; nothing when it is of no probe that runs."""
        maker = self._makers.get(raw.kind)
        if maker is not None:
            yield from maker(raw)

    def late(self, now: int) -> Iterator[ProbeEvent]:
        """Questions that nobody has answered."""
        for key, (asked, event) in list(self._questions.items()):
            if now - asked < NO_ANSWER * 1e9:
                return
            del self._questions[key]
            yield replace(event, result="no answer", failed=True)

    def _new(self, probe: str, raw: Raw, what: str = "", **more: Any) -> ProbeEvent:  # noqa: ANN401  # its fields
        self._number += 1
        fields: dict[str, Any] = {
            "pid": raw.tgid or None,
            "tid": raw.tid or None,
            "process": clean(words.text_of(raw.comm), SHORT),
            "goroutine": raw.goid or None,
            **more,
        }
        return ProbeEvent(
            probe=probe, number=self._number, at=self._look.wall(raw.at), what=clean(what, WHAT), **fields
        )  # fmt: skip

    # -- programs

    def _execed(self, raw: Raw) -> Iterator[ProbeEvent]:
        before = self._programs.pop(raw.tgid, None)
        event = self._new("execs", raw, **self._command(raw))
        if before is not None and before.what:
            took = (event.at - before.at).total_seconds()
            yield replace(before, result=clean(f"became {event.what.split(' ', 1)[0]}", SHORT), took=max(took, 0.0))
        self._programs[raw.tgid] = event
        if len(self._programs) > MOST_OPEN:
            self._programs.popitem(last=False)
        yield event

    def _command(self, raw: Raw) -> dict[str, Any]:
        path = words.text_of(raw.text[:PATH])
        pcs = struct.unpack(f"<{STACK}Q", raw.text[PATH : PATH + 8 * STACK].ljust(8 * STACK, b"\0"))
        data = raw.text[PATH + 8 * STACK :]
        argv = [part.decode("utf-8", "replace") for part in data.rstrip(b"\0").split(b"\0")] if data else []
        argv = list(mask_argv(argv)) or [path]
        whole = raw.numbers[0] <= len(data) or not data
        stack = self._stack(pcs)
        return {
            "what": " ".join(_quoted(word) for word in argv) + ("" if whole else " …"),
            "detail": clean(path if data else f"{path}, its arguments were not seen", SHORT),
            "by": clean(self._look.caller(stack), SHORT),
            "stack": tuple(clean(name, SHORT) for name in stack[:MOST_FRAMES]),
        }

    def _stack(self, pcs: Sequence[int]) -> list[str]:
        addresses = [pc for pc in pcs if pc]
        return [name for names in self._look.frames(addresses) for name in names] if addresses else []

    def _exited(self, raw: Raw) -> Iterator[ProbeEvent]:
        result, failed = words.end_words(raw.result)
        before = self._programs.pop(raw.tgid, None)
        if before is None:
            comm = words.text_of(raw.comm)
            before = self._new("execs", raw, f"({comm}: was running)" if not raw.numbers[2] else f"({comm}: no exec)")
        yield replace(before, result=result, failed=failed, took=raw.took / 1e9 if raw.took else None)

    def _exec_failed(self, raw: Raw) -> Iterator[ProbeEvent]:
        yield self._new("execs", raw, words.text_of(raw.text), result=words.failure(raw.result), failed=True)

    # -- signals and kills

    def _signalled(self, raw: Raw) -> Iterator[ProbeEvent]:
        code = struct.unpack("<i", struct.pack("<I", raw.numbers[1] & 0xFFFFFFFF))[0]
        sender = f"{words.text_of(raw.comm)} [{raw.other}]"
        by = "the kernel" if code > 0 else "a timer" if code == -2 else sender if raw.other != raw.tgid else "itself"
        outcome = words.OUTCOMES[raw.result] if raw.result < len(words.OUTCOMES) else f"outcome {raw.result}"
        to = "" if raw.numbers[2] else f"for thread {raw.tid}"
        event = self._new("signals", raw, words.signal_name(raw.numbers[0]), by=clean(by, SHORT), result=outcome)
        yield replace(event, detail=to, process="", failed=raw.result == 3)

    def _oom_killed(self, raw: Raw) -> Iterator[ProbeEvent]:
        by = f"{words.text_of(raw.comm)} [{raw.other}]"
        whose = "the target" if raw.result else "another"
        killed = words.text_of(raw.text) or f"process {raw.tgid}"
        event = self._new("oom-kills", raw, killed, by=clean(by, SHORT), result=whose, failed=bool(raw.result))
        yield replace(event, process=clean(killed, SHORT), tid=None)

    # -- files

    def _opened(self, raw: Raw) -> Iterator[ProbeEvent]:
        failed = raw.result < 0
        call = call_name(raw.numbers[0])
        flags = words.open_flags(raw.numbers[1]) if call in ("open", "openat") else ""
        yield self._new(
            raw.probe or "opens", raw, words.text_of(raw.text), failed=failed, detail=flags, took=raw.took / 1e9,
            result=words.failure(raw.result) if failed else f"fd {raw.result}",
        )  # fmt: skip

    def _slow_file(self, raw: Raw) -> Iterator[ProbeEvent]:
        name = words.text_of(raw.text)
        result = words.failure(raw.result) if raw.result < 0 else str(raw.result)
        yield self._new(
            "slow-files", raw, self._look.path(raw.tgid, raw.numbers[1], name), detail=call_name(raw.numbers[0]),
            took=raw.took / 1e9, result=result, failed=raw.result < 0, size=max(raw.result, 0),
        )  # fmt: skip

    # -- network

    def _ends(self, raw: Raw) -> tuple[str, str]:
        """The peer, and our own port."""
        if not raw.flags:
            return "", ""
        port, own = raw.numbers[3] >> 16 & 0xFFFF, raw.numbers[3] & 0xFFFF
        return words.address(raw.flags, raw.numbers[1], raw.numbers[2], port), f"port {own}" if own else ""

    def _connected(self, raw: Raw) -> Iterator[ProbeEvent]:
        peer, own = self._ends(raw)
        stands = raw.result == 1
        result = "connected" if stands else words.failure(raw.result) if raw.result else "given up"
        yield self._new(
            "connects",
            raw,
            peer,
            detail=f"from {own}" if own else "",
            result=result,
            failed=not stands,
            took=raw.took / 1e9,
        )

    def _accepted(self, raw: Raw) -> Iterator[ProbeEvent]:
        peer, own = self._ends(raw)
        failed = raw.result < 0
        result = words.failure(raw.result) if failed else f"fd {raw.result}"
        yield self._new("accepts", raw, peer, detail=own, result=result, failed=failed)

    def _trouble(self, raw: Raw) -> Iterator[ProbeEvent]:
        peer, own = self._ends(raw)
        again = raw.numbers[0]
        result = {library.RETRANSMITTED: "retransmit", library.RESET_SENT: "reset by us"}.get(raw.kind, "reset by peer")
        detail = f"{own}, {again} in a row".strip(", ") if raw.kind == library.RETRANSMITTED and again else own
        event = self._new("resets", raw, peer, result=result, failed=True, detail=detail)
        yield replace(event, process="", tid=None)

    def _dns(self, raw: Raw) -> Iterator[ProbeEvent]:
        message = dns.parse(raw.text)
        if message is None:
            return
        key = (raw.tgid, raw.numbers[0], message.id, message.name.lower() + message.type)
        if not message.answer:
            server = words.address(raw.flags, raw.numbers[1], raw.numbers[2])
            event = self._new("dns", raw, f"{message.name} {message.type}", by=f"server {server}")
            self._questions[key] = (raw.at, event)
            if len(self._questions) > MOST_OPEN:
                self._questions.popitem(last=False)
            yield event
            return
        asked = self._questions.pop(key, None)
        if asked is None:
            return
        answers = ", ".join(message.answers) + (" (cut, asked again over TCP)" if message.cut else "")
        yield replace(
            asked[1], result=message.code, failed=message.code != "NOERROR", took=(raw.at - asked[0]) / 1e9,
            detail=clean(answers or ("no such record" if message.code == "NOERROR" else ""), WHAT),
        )  # fmt: skip

    # -- waits, and the Go runtime

    def _waited(self, raw: Raw) -> Iterator[ProbeEvent]:
        before = words.text_of(raw.text)
        by = "idle" if before.startswith("swapper/") else f"{before} [{raw.other}]" if raw.other else before
        probe = "run-queue" if raw.kind == library.QUEUED else "throttling"
        yield self._new(probe, raw, took=raw.took / 1e9, by=clean(by, SHORT) if probe == "run-queue" else "")

    def _collection(self, raw: Raw) -> Iterator[ProbeEvent]:
        if raw.kind == library.GC_BEGUN:
            if self._cycle is None or raw.at - self._cycle[0] > 120e9:
                self._cycles += 1
                event = self._new("gc", raw, f"collection {self._cycles}", result="marking")
                self._cycle = (raw.at, event)
                yield event
            return
        if self._cycle is not None:
            begun, event = self._cycle
            self._cycle = None
            yield replace(event, result="marked", took=(raw.at - begun) / 1e9)

    def _panicked(self, raw: Raw) -> Iterator[ProbeEvent]:
        text = raw.text.decode("utf-8", "replace")
        printable = bool(text) and sum(sign.isprintable() or sign in "\n\t" for sign in text) >= 0.95 * len(text)
        what = text if printable else words.GO_KINDS.get(raw.numbers[2], "a value that is no text")
        stack = self._stack((raw.numbers[1],))
        yield self._new("panics", raw, what, failed=True, by=clean(stack[0], SHORT) if stack else "")


def _quoted(word: str) -> str:
    """A word as a shell would need it, where that makes a difference to a reader."""
    if word and not any(sign.isspace() or sign in "\"'\\" for sign in word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def title_of(probe: str) -> str:
    """What a probe is called."""
    return BY_ID[probe].title
