"""JSON Lines for scripts: every key of a type in every object, unknown as null, times in RFC 3339 UTC."""

from __future__ import annotations

import msgspec

_encode = msgspec.json.Encoder().encode


def plain(value: object) -> object:
    """A record, row or verdict as builtins with every field present; records carry their `kind`."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        if isinstance(tag, str):
            return {"kind": tag, **fields}
        return fields
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def line(value: object, without: tuple[str, ...] = ()) -> str:
    """One JSON object as one line, without the newline; `without` names fields that stand elsewhere."""
    found = plain(value)
    if without and isinstance(found, dict):
        found = {key: item for key, item in found.items() if key not in without}
    return _encode(found).decode()
