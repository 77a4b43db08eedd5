"""A profile in the formats of other tools: pprof, folded stacks, speedscope."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, Final

from gotriage.goruntime import protobuf as pb
from gotriage.records.profile import ProfileFrame, WallProfile
from gotriage.render import flame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gotriage.records.profile import Profile, ProfileStack

FORMS: Final = ("pprof", "folded", "speedscope")
SUFFIXES: Final = {"pprof": "pb.gz", "folded": "folded", "speedscope": "speedscope.json"}
NANO: Final = 1_000_000_000


def export(profile: Profile, form: str) -> bytes:
    """As pprof (profile.proto, gzip), folded stacks, or speedscope's JSON."""
    if form == "pprof":
        return gzip.compress(_Pprof(profile).encode(), 6, mtime=0)
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


class _Pprof:
    """The message Profile of profile.proto (github.com/google/pprof/proto); field numbers are its.

    A location is a frame with the calls that were inlined into it; labels are those of pprof, besides `creator`,
    `thread` and `state`.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[tuple[tuple[int, int], ...], int] = {}

    def encode(self) -> bytes:
        """All of it; the strings last, as everything else adds to them."""
        profile = self._profile
        wall = isinstance(profile, WallProfile)
        what, unit = ("wall", "nanoseconds") if wall else ("cpu", "nanoseconds")
        period = round(NANO / profile.hz) if profile.hz else 0
        kinds = [self._kind(1, "samples", "count"), self._kind(1, what, unit)]
        samples = [self._sample(stack, period) for stack in profile.stacks]
        mapping = pb.blob(3, pb.number(1, 1) + pb.number(7, 1) + pb.number(8, 1) + pb.number(9, 1) + pb.number(10, 1))
        comments = [self._string(note) for note in profile.notes]
        tail = [
            pb.number(9, int(profile.began.timestamp() * NANO) if profile.began is not None else 0),
            pb.number(10, int(profile.seconds * NANO)),
            self._kind(11, what, unit),
            pb.number(12, period),
            pb.packed(13, comments) if comments else b"",
        ]
        parts: Iterable[bytes] = [*kinds, *samples, mapping, *self._location_table(), *self._function_table(), *tail]
        return b"".join([*parts, *(pb.blob(6, text.encode("utf-8", "replace")) for text in self._strings)])

    def _kind(self, field: int, name: str, unit: str) -> bytes:
        return pb.blob(field, pb.number(1, self._string(name)) + pb.number(2, self._string(unit)))

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _sample(self, stack: ProfileStack, period: int) -> bytes:
        frames = [self._profile.frames[n] for n in stack.frames if 0 <= n < len(self._profile.frames)]
        places: list[int] = []
        lines: list[tuple[int, int]] = []
        for frame in frames or [ProfileFrame(flame.NO_STACK)]:
            lines.append((self._function(frame), frame.line))
            if not frame.inlined:
                places.append(self._location(lines))
                lines = []
        if lines:
            places.append(self._location(lines))
        labels = b"".join(
            pb.blob(3, pb.number(1, self._string(key)) + pb.number(2, self._string(value)))
            for key, value in self._labels(stack)
            if key
        )
        return pb.blob(2, pb.packed(1, places) + pb.packed(2, [stack.count, stack.count * period]) + labels)

    def _labels(self, stack: ProfileStack) -> Iterator[tuple[str, str]]:
        profile = self._profile
        if 0 <= stack.labels < len(profile.label_sets):
            yield from profile.label_sets[stack.labels].items()
        if 0 <= stack.creator < len(profile.sites):
            yield "creator", profile.sites[stack.creator].function
        if 0 <= stack.thread < len(profile.threads_named):
            yield "thread", profile.threads_named[stack.thread]
        if 0 <= stack.state < len(profile.states):
            yield "state", profile.states[stack.state]

    def _function(self, frame: ProfileFrame) -> int:
        return self._functions.setdefault((frame.function, frame.file), len(self._functions) + 1)

    def _location(self, lines: Sequence[tuple[int, int]]) -> int:
        return self._locations.setdefault(tuple(lines), len(self._locations) + 1)

    def _location_table(self) -> Iterator[bytes]:
        for lines, number in self._locations.items():
            inner = b"".join(pb.blob(4, pb.number(1, function) + pb.number(2, line)) for function, line in lines)
            yield pb.blob(4, pb.number(1, number) + pb.number(2, 1) + inner)

    def _function_table(self) -> Iterator[bytes]:
        for (name, file), number in self._functions.items():
            text = self._string(name)
            yield pb.blob(
                5, pb.number(1, number) + pb.number(2, text) + pb.number(3, text) + pb.number(4, self._string(file))
            )
