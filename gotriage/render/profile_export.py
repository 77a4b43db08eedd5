"""A profile in the formats of other tools: pprof, folded stacks, speedscope."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, Final

from gotriage.goruntime import protobuf as pb
from gotriage.goruntime.pprof import Tables
from gotriage.records.profile import ProfileFrame, WallProfile
from gotriage.render import flame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.profile import Profile, ProfileStack

FORMS: Final = ("pprof", "folded", "speedscope")
SUFFIXES: Final = {"pprof": "pb.gz", "folded": "folded", "speedscope": "speedscope.json"}
NANO: Final = 1_000_000_000


def export(profile: Profile, form: str) -> bytes:
    """As pprof (profile.proto, gzip), folded stacks, or speedscope's JSON."""
    if form == "pprof":
        return gzip.compress(pprof(profile), 6, mtime=0)
    if form == "speedscope":
        return json.dumps(speedscope(profile), ensure_ascii=True, separators=(",", ":")).encode()
    return "".join(f"{line}\n" for line in folded(profile)).encode("utf-8", "replace")


def _outermost_first(profile: Profile, stack: ProfileStack) -> list[ProfileFrame]:
    frames = [profile.frames[number] for number in reversed(stack.frames) if 0 <= number < len(profile.frames)]
    if stack.cut:
        frames.insert(0, ProfileFrame(flame.CUT))
    if isinstance(profile, WallProfile):
        frames.append(ProfileFrame(f"[{_state(profile, stack)}]"))
    return frames or [ProfileFrame(flame.NO_STACK)]


def _state(profile: Profile, stack: ProfileStack) -> str:
    return profile.states[stack.state] if 0 <= stack.state < len(profile.states) else "?"


def folded(profile: Profile) -> Iterator[str]:
    """Lines "outermost;...;innermost COUNT", as flame graph tools read them; equal ones are one."""
    counts: dict[str, int] = {}
    for stack in profile.stacks:
        names = (_folded_name(frame) for frame in _outermost_first(profile, stack))
        line = ";".join(names)
        counts[line] = counts.get(line, 0) + stack.count
    for line, count in counts.items():
        yield f"{line} {count}"


def _folded_name(frame: ProfileFrame) -> str:
    """Kernel functions are marked as Brendan Gregg's tools mark them."""
    name = frame.function.replace(";", ":") or "?"
    return f"{name}_[k]" if frame.kind == "kernel" else name


def speedscope(profile: Profile) -> dict[str, Any]:
    """A sampled profile (speedscope.app/file-format-schema.json): weights in seconds."""
    index: dict[tuple[str, str, int], int] = {}
    frames: list[dict[str, Any]] = []
    samples: list[list[int]] = []
    for stack in profile.stacks:
        sample = []
        for frame in _outermost_first(profile, stack):
            key = (frame.function, frame.file, frame.line)
            if key not in index:
                index[key] = len(frames)
                place = {"file": frame.file} if frame.file else {}
                frames.append({"name": frame.function, **place, **({"line": frame.line} if frame.line else {})})
            sample.append(index[key])
        samples.append(sample)
    weights = [stack.count / profile.hz if profile.hz else stack.count for stack in profile.stacks]
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "gotriage",
        "name": "goroutines by the clock" if isinstance(profile, WallProfile) else "CPU",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": [
            {
                "type": "sampled",
                "name": "goroutines by the clock" if isinstance(profile, WallProfile) else "CPU",
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }


def pprof(profile: Profile) -> bytes:
    """The message Profile of profile.proto (github.com/google/pprof/proto), not packed; field numbers are its.

    Labels are those of pprof, besides `creator`, `thread` and `state`.
    """
    tables = Tables()
    what = "wall" if isinstance(profile, WallProfile) else "cpu"
    period = round(NANO / profile.hz) if profile.hz else 0
    head = [tables.value_type(1, "samples", "count"), tables.value_type(1, what, "nanoseconds")]
    head += [_sample(tables, profile, stack, period) for stack in profile.stacks]
    comments = [tables.string(note) for note in profile.notes]
    tail = [
        pb.number(9, int(profile.began.timestamp() * NANO) if profile.began is not None else 0),
        pb.number(10, int(profile.seconds * NANO)),
        tables.value_type(11, what, "nanoseconds"),
        pb.number(12, period),
        pb.packed(13, comments) if comments else b"",
    ]
    return tables.encode(head, tail)


def _sample(tables: Tables, profile: Profile, stack: ProfileStack, period: int) -> bytes:
    frames = [profile.frames[number] for number in stack.frames if 0 <= number < len(profile.frames)]
    called = [(one.function, one.file, one.line, one.inlined) for one in frames or [ProfileFrame(flame.NO_STACK)]]
    return tables.sample(called, [stack.count, stack.count * period], _labels(profile, stack))


def _labels(profile: Profile, stack: ProfileStack) -> Iterator[tuple[str, str]]:
    if 0 <= stack.labels < len(profile.label_sets):
        yield from profile.label_sets[stack.labels].items()
    if 0 <= stack.creator < len(profile.sites):
        yield "creator", profile.sites[stack.creator].function
    if 0 <= stack.thread < len(profile.threads_named):
        yield "thread", profile.threads_named[stack.thread]
    if 0 <= stack.state < len(profile.states):
        yield "state", profile.states[stack.state]
