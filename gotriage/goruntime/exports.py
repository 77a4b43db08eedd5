"""A dump as other tools read it: Go's own text, a pprof profile, folded stacks, JSON objects.

Only goroutines whose stack was read have frames. One that runs on a CPU has none; it is written as Go itself writes
one of another thread, or with its first function alone. Text of the target loses control characters here, so that a
function's name cannot begin a line of its own.
"""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

from gotriage.goruntime import protobuf as pb
from gotriage.goruntime.pprof import Tables
from gotriage.goruntime.report import Frame
from gotriage.goruntime.symbols import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.goruntime.report import Dump, Goroutine, Group

ON_CPU = "on a CPU while it was read: only a stop of its thread could tell"
UNAVAILABLE = "\tgoroutine running on other thread; stack unavailable"
"""Go's own words (runtime/traceback.go, traceback of other goroutines)."""
ELIDED = "...additional frames elided..."
"""Go's own words for a stack that goes on."""
WAITING = ("waiting", "syscall")
"""States for which Go prints how long (runtime/traceback.go, goroutineheader)."""
NOWHERE = Frame("[stack not read]")
"""Stands for the place of a goroutine of which not even the first function is known."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


PANIC = "panic"
"""How Go prints runtime.gopanic."""
ENDS = "runtime.goexit"
"""Lies below every goroutine's first function; Go's profiles leave it out (runtime/pprof/proto.go)."""


def as_printed(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The frames that Go's own traces show (runtime/traceback.go, showfuncinfo): of package runtime exported ones only.

    A panic in the middle of a stack shows too. Where nothing is left, as for the runtime's own goroutines, all are.
    """
    kept: list[Frame] = []
    for frame in frames:
        name = "runtime.gopanic" if frame.function == PANIC else frame.function
        if shown(name, first=not kept):
            kept.append(frame)
    return tuple(kept) or frames


def _plain(text: str) -> str:
    return text if text.isascii() and text.isprintable() else _CONTROL.sub("\ufffd", text)


# -- Go's own text


def debug2(dump: Dump, *, system: bool = False) -> Iterator[str]:
    """Lines of what /debug/pprof/goroutine?debug=2 would say, by goroutine id; without the runtime's own goroutines.

    Arguments and the offset within a function are not known here: they read `(...)`, as those of inlined calls do in
    Go's text, and the offset is left out. Waiting times are minutes, as Go prints them.
    """
    first = True
    for one in sorted(dump.goroutines, key=lambda one: one.id):
        if one.system and not system:
            continue
        if not first:
            yield ""
        first = False
        yield _header(one)
        yield from _frames_of(dump, one)
        yield from _creator(dump, one)


def _header(one: Goroutine) -> str:
    words = [_plain(one.wait_reason if one.wait_reason and one.state == "waiting" else one.state)]
    if one.state in WAITING and one.waits is not None and one.waits >= 60:
        words.append(f"{int(one.waits // 60)} minutes")
    if one.locked:
        words.append("locked to thread")
    return f"goroutine {one.id} [{', '.join(words)}]:"


def _frames_of(dump: Dump, one: Goroutine) -> Iterator[str]:
    if one.stack < 0:
        yield UNAVAILABLE
        return
    stack = dump.stacks[one.stack]
    for frame in as_printed(stack.frames):
        yield f"{_printed(frame.function)}(...)"
        yield f"\t{_place(frame)}"
    if not stack.complete:
        yield ELIDED


def _creator(dump: Dump, one: Goroutine) -> Iterator[str]:
    if one.created_by < 0:
        return
    site = dump.sites[one.created_by]
    if not shown(site.function) or one.id == 1:
        return
    parent = f" in goroutine {one.created_by_id}" if one.created_by_id else ""
    yield f"created by {_printed(site.function)}{parent}"
    yield f"\t{_place(site)}"


def _printed(function: str) -> str:
    """A panic goes by its short name (runtime/traceback.go, printFuncName)."""
    return PANIC if function == "runtime.gopanic" else _plain(function)


def _place(frame: Frame) -> str:
    return f"{_plain(frame.file) or '?'}:{frame.line}"


# -- folded stacks


def folded(dump: Dump, *, system: bool = True) -> Iterator[str]:
    """Lines "outermost;...;innermost COUNT", as flame graph tools read them; the wait reason is the innermost part."""
    for group in dump.groups:
        if group.system and not system:
            continue
        names = [frame.function for frame in reversed(_stack_or_start(dump, group))]
        what = group.wait_reason or group.state
        parts = [_plain(name).replace(";", ":") or "?" for name in (*names, f"[{what}]")]
        yield f"{';'.join(parts)} {group.count}"


def _stack_or_start(dump: Dump, group: Group) -> tuple[Frame, ...]:
    if group.stack >= 0:
        return tuple(frame for frame in dump.stacks[group.stack].frames if frame.function != ENDS)
    return (dump.sites[group.start],) if group.start >= 0 else ()


# -- pprof


def pprof(dump: Dump, *, system: bool = True) -> bytes:
    """A goroutine profile as `go tool pprof` reads it: gzip of profile.proto (github.com/google/pprof/proto).

    A sample a group; its labels are those that its goroutines carry, and "state" with the wait reason.
    """
    tables = Tables(_plain)
    kind = tables.value_type(1, "goroutine", "count")
    samples = [_sample(tables, dump, group) for group in dump.groups if system or not group.system]
    comment = tables.string(f"{dump.omitted_groups} groups left out") if dump.omitted_groups else 0
    tail = [
        pb.number(9, int(dump.at * 1e9)),
        pb.number(10, int(dump.took * 1e9)),
        tables.value_type(11, "goroutine", "count"),
        pb.number(12, 1),
        pb.packed(13, [comment]) if comment else b"",
    ]
    return gzip.compress(tables.encode([kind, *samples], tail), 6, mtime=0)


def _sample(tables: Tables, dump: Dump, group: Group) -> bytes:
    labels = [("state", group.wait_reason or group.state), *sorted(group.labels.items())]
    frames = _stack_or_start(dump, group) or (NOWHERE,)
    return tables.sample(((one.function, one.file, one.line, one.inlined) for one in frames), [group.count], labels)


# -- JSON


def objects(dump: Dump, *, grouped: bool = False) -> Iterator[dict[str, Any]]:
    """One object a goroutine, by id; or with `grouped` one a distinct stack with `count` and the first `ids`.

    Keys as `gotriage show goroutines --json` has them; stacks are as Go prints them (`as_printed`).
    What is not known is None; a stack that was not read is empty,
    and `stack_missing` says why.
    """
    if grouped:
        for group in dump.groups:
            yield {"count": group.count, "ids": list(group.ids), **_shared(dump, group), **_of_group(group)}
        return
    for one in sorted(dump.goroutines, key=lambda one: one.id):
        yield {"id": one.id, **_shared(dump, one), **_of_one(one)}


def place(frame: Frame) -> dict[str, Any]:
    """A frame as an object."""
    return {"function": frame.function, "file": frame.file or None, "line": frame.line or None}


def _shared(dump: Dump, one: Goroutine | Group) -> dict[str, Any]:
    stack = dump.stacks[one.stack] if one.stack >= 0 else None
    return {
        "state": one.state,
        "wait_reason": one.wait_reason or None,
        "stack": [place(frame) for frame in as_printed(stack.frames)] if stack is not None else [],
        "stack_complete": stack.complete if stack is not None else None,
        "stack_missing": None if stack is not None else ON_CPU,
        "created_by": place(dump.sites[one.created_by]) if one.created_by >= 0 else None,
        "start": place(dump.sites[one.start]) if one.start >= 0 else None,
        "labels": one.labels,
        "system": one.system,
        "waiting_on": one.waiting_on,
    }


def _of_one(one: Goroutine) -> dict[str, Any]:
    return {
        "wait_seconds": one.waits,
        "wait_source": one.since or None,
        "created_by_id": one.created_by_id,
        "thread": one.thread,
        "locked": one.locked,
        "moved": one.moved,
        "wake_in_seconds": one.wake_in,
        "fd": one.fd,
    }


def _of_group(group: Group) -> dict[str, Any]:
    return {
        "wait_seconds": group.oldest,
        "wait_source": group.since or None,
        "oldest_id": group.oldest_id,
        "count_before": group.before,
        "count_first": group.first,
        "moved": group.moved,
    }
