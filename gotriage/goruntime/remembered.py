"""Where the runtime's variables are in a build that was looked at before, by its build id.

Only distances from the program's text are kept. They are checked again by their contents whenever they are used: a file
that is wrong costs time, never truth.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from gotriage.goruntime.checks import Checks
from gotriage.goruntime.locate import Globals
from gotriage.host import cache

if TYPE_CHECKING:
    from gotriage.goruntime.image import Image
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory

WITNESSES: Final = (
    "runtime.schedinit",
    "runtime.gcStart",
    "runtime.newproc1",
    "runtime.allgadd",
    "runtime.ReadMemStats",
)
"""Functions whose code is part of the name: a program may claim any build id, but where its variables are stands in its
code, as distances from there."""
FORMAT: Final = 3
"""Changes whenever the search finds something else, or in another way."""


class Known(msgspec.Struct, frozen=True):
    """Variable to its distance from the text and to how it was found."""

    places: dict[str, int]
    how: dict[str, str]


def recall(memory: Memory, image: Image, layout: Layout) -> Globals | None:
    """The variables, each of them sound; None when nothing is known, or one of them is not where it was."""
    data = cache.load(_name(image, layout)) if image.build_id else None
    if data is None:
        return None
    try:
        known = msgspec.json.decode(data, type=Known)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    base = image.modules[0].text
    found = Globals({name: base + distance for name, distance in known.places.items()}, known.how)
    checks = Checks(memory, layout, image)
    if not found.has("allgs") or set(found.how) != set(found.places):
        return None
    return found if all(checks.sound(name, place) for name, place in found.places.items()) else None


def remember(memory: Memory, image: Image, layout: Layout, found: Globals) -> None:
    """Keep them for the next time, if they are all: one whose contents made no sense this time, because they changed
    meanwhile or are damaged, would never be found again."""
    checks = Checks(memory, layout, image)
    if image.build_id and all(found.has(name) for name in layout.signatures if checks.knows(name)):
        base = image.modules[0].text
        known = Known({name: place - base for name, place in found.places.items()}, found.how)
        cache.store(_name(image, layout), msgspec.json.encode(known))


def _name(image: Image, layout: Layout) -> str:
    words = f"{FORMAT} {image.build_id} {image.go_version} {layout.go} {layout.arch} {layout.source}"
    digest = hashlib.sha256(words.encode())
    for function in WITNESSES:
        index = image.functions.by_name(function)
        digest.update(b"\0" if index is None else image.functions.text(index))
    return f"runtime-{digest.hexdigest()[:32]}"
