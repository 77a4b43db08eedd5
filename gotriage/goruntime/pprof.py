"""The tables of a profile as pprof reads it: the message Profile of profile.proto (github.com/google/pprof/proto)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.goruntime import protobuf as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAPPING: Final = pb.blob(3, pb.number(1, 1) + pb.number(7, 1) + pb.number(8, 1) + pb.number(9, 1) + pb.number(10, 1))
"""One mapping, whose functions, files, lines and inlined calls are all known."""


Called = tuple[str, str, int, bool]
"""A frame of a stack: function, file, line, and whether it is inlined into the frame that follows it."""


class Tables:
    """Strings, functions and locations, each written once. A location is a frame with the calls inlined into it."""

    def __init__(self, plain: Callable[[str], str] = str) -> None:
        """`plain`: what a text of the target goes through."""
        self._plain = plain
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[tuple[tuple[int, int], ...], int] = {}

    def string(self, text: str) -> int:
        """Its number."""
        return self._strings.setdefault(self._plain(text), len(self._strings))

    def value_type(self, field: int, name: str, unit: str) -> bytes:
        """The message ValueType."""
        return pb.blob(field, pb.number(1, self.string(name)) + pb.number(2, self.string(unit)))

    def sample(self, frames: Iterable[Called], values: list[int], labels: Iterable[tuple[str, str]]) -> bytes:
        """The message Sample: a stack, the innermost frame first."""
        places: list[int] = []
        lines: list[tuple[int, int]] = []
        for function, file, line, inlined in frames:
            lines.append((self._function(function, file), line))
            if not inlined:
                places.append(self._location(lines))
                lines = []
        if lines:
            places.append(self._location(lines))
        pairs = (pb.number(1, self.string(key)) + pb.number(2, self.string(value)) for key, value in labels if key)
        return pb.blob(2, pb.packed(1, places) + pb.packed(2, values) + b"".join(pb.blob(3, pair) for pair in pairs))

    def encode(self, head: Iterable[bytes], tail: Iterable[bytes]) -> bytes:
        """The message Profile: types and samples, the tables, times and comments. Nothing may be added afterwards."""
        parts = [*head, MAPPING, *self._location_table(), *self._function_table(), *tail]
        return b"".join([*parts, *(pb.blob(6, text.encode("utf-8", "replace")) for text in self._strings)])

    def _function(self, name: str, file: str) -> int:
        return self._functions.setdefault((name, file), len(self._functions) + 1)

    def _location(self, lines: list[tuple[int, int]]) -> int:
        return self._locations.setdefault(tuple(lines), len(self._locations) + 1)

    def _location_table(self) -> Iterator[bytes]:
        for lines, number in self._locations.items():
            inner = b"".join(pb.blob(4, pb.number(1, function) + pb.number(2, line)) for function, line in lines)
            yield pb.blob(4, pb.number(1, number) + pb.number(2, 1) + inner)

    def _function_table(self) -> Iterator[bytes]:
        for (name, file), number in self._functions.items():
            text = self.string(name)
            names = pb.number(2, text) + pb.number(3, text) + pb.number(4, self.string(file))
            yield pb.blob(5, pb.number(1, number) + names)
