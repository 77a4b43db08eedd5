"""What releases say of themselves, put into one file a minor version: the newest whole, the others by what differs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gotriage.goruntime import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.lab.golayout.signatures import Signatures, Touches

MAPS: Final = ("structs", "globals", "signatures")
LISTS: Final = (
    "wait_reasons", "g_status", "p_status", "func_ids", "func_flags", "pcdata", "funcdata", "size_classes",
    "size_class_pages", "pclntab_magic", "constants", "sources",
)  # fmt: skip
AGREES: Final = 0.75
"""Share of a signature that must hold in an earlier release too, for that to need none of its own."""


@dataclass
class Made:
    """What one release says, on one architecture.

    `same`: patch numbers of the releases that declare the same in their source, its own too. `touched` is all of which
    `signatures` holds the best.
    """

    version: str
    arch: str
    source: str
    structs: dict[str, Any]
    globals: dict[str, Any]
    lists: dict[str, Any]
    same: tuple[int, ...] = ()
    signatures: Signatures = field(default_factory=dict)
    touched: Touches = field(default_factory=dict)

    @property
    def patch(self) -> int:
        """3 of 1.27.3."""
        return int(self.version.split(".")[2])


def text(everything: Iterable[Made], *, tested: bool = True, note: str = "") -> str:
    """The file of a minor version."""
    order = sorted(everything, key=lambda made: (made.arch != "amd64", made.arch, -made.patch))
    firsts: dict[str, Made] = {}
    tables: list[tuple[Made, dict[str, Any], list[Made]]] = []
    for made in order:
        above = firsts.get(made.arch) or order[0]
        parts = _parts(made) if made is order[0] else _differing(above, made)
        for first, other, alike in tables:
            mine = {} if first is above else other
            if first.arch == made.arch and mine == parts and first.source == made.source:
                alike.append(made)
                break
        else:
            tables.append((made, parts, [made]))
        firsts.setdefault(made.arch, made)
    go = ".".join(order[0].version.split(".")[:2])
    head = {"schema": layout.SCHEMA, "go": go, "tested": tested, "note": note}
    lines = [f'{json.dumps(head)[:-1]}, "tables": [']
    for number, (made, parts, alike) in enumerate(tables):
        built = {each.patch for each in alike}
        declared = {patch for each in alike for patch in each.same} - {each.patch for each in order}
        start = {"arch": made.arch, "patches": sorted(built), "declared": sorted(declared), "source": made.source}
        lines.append(("," if number else "") + json.dumps(start)[:-1])
        lines += [_part(name, parts[name]) for name in (*MAPS, *LISTS) if name in parts]
        lines.append("}")
    return "\n".join([*lines, "]}"]) + "\n"


def _parts(made: Made) -> dict[str, Any]:
    parts = {"structs": made.structs, "globals": made.globals, **made.lists, "signatures": made.signatures}
    return _plain({name: value for name, value in parts.items() if made.arch == "amd64" or name != "signatures"})


def _differing(above: Made, made: Made) -> dict[str, Any]:
    """What of a release has to be said where all of another is known: a null takes something away."""
    parts: dict[str, Any] = {}
    first = _parts(above)
    for name, own in _parts(made).items():
        known = first.get(name)
        if own == known:
            continue
        if not isinstance(own, dict):
            parts[name] = own
        elif name == "signatures":
            parts[name] = {key: each for key, each in own.items() if not agrees(known.get(key), made, key)}
        else:
            parts[name] = {key: value for key, value in own.items() if known.get(key) != value}
            parts[name] |= {key: None for key in known if key not in own}
    return {name: value for name, value in parts.items() if value}


def agrees(functions: Mapping[str, list[int]] | None, made: Made, variable: str) -> bool:
    """Whether what one release's functions touch in a variable, another's touch too."""
    pairs = [(function, offset) for function, offsets in (functions or {}).items() for offset in offsets]
    there = made.touched.get(variable, {})
    return bool(pairs) and sum(offset in there.get(function, ()) for function, offset in pairs) >= AGREES * len(pairs)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _part(name: str, value: Any) -> str:
    """One struct, list or signature a line: small, and a change shows in a diff."""
    if name not in MAPS:
        return f', "{name}": {_dense(value)}'
    return f', "{name}": {{\n' + ",\n".join(f"{json.dumps(key)}:{_dense(each)}" for key, each in value.items()) + "}"


def _dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def write(folder: Path, made: list[Made], **head: Any) -> Path:
    """Writes the file of their minor version."""
    go = ".".join(made[0].version.split(".")[:2])
    path = folder / f"go{go}.json"
    path.write_text(text(made, **head))
    return path
