"""Secrets masked before a byte reaches the disk: every text of every record passes the rules of records.secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from gotriage.records import secrets
from gotriage.records.stream import End, Header, Heartbeat, Reply

if TYPE_CHECKING:
    from gotriage.records import Record

NAME = f"gotriage {secrets.VERSION}"
"""Name and version of the rules, as it stands in the header of what they made."""
OWN = (Heartbeat, Reply)
"""Records that hold no text from outside."""

S = TypeVar("S", bound=msgspec.Struct)


class Redactor:
    """Masks records one after the other.

    Attributes:
        counts: rule to how many values it masked so far.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def apply(self, record: Record) -> Record:
        """The record with its secrets masked; itself when it holds none. Headers and ends are marked."""
        if isinstance(record, Header):
            return msgspec.structs.replace(record, redaction=NAME)
        if isinstance(record, End):
            return msgspec.structs.replace(self._struct(record), masked=dict(self.counts))
        return record if isinstance(record, OWN) else self._struct(record)

    def _struct(self, value: S) -> S:
        changed = {}
        for name in value.__struct_fields__:
            before = getattr(value, name)
            after = self._value(before, name)
            if after is not before:
                changed[name] = after
        return msgspec.structs.replace(value, **changed) if changed else value

    def _value(self, value: object, name: str) -> object:
        """The masked value, or the same object when nothing in it was masked."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, tuple):
            return self._tuple(value, name)
        if isinstance(value, dict):
            return self._dict(value)
        return self._struct(value) if isinstance(value, msgspec.Struct) else value

    def _text(self, text: str) -> str:
        if len(text) < 4:
            return text
        masked = secrets.mask_text(text, self.counts)
        return masked if masked != text else text

    def _tuple(self, items: tuple[object, ...], name: str) -> tuple[object, ...]:
        if name == "argv":
            words = [str(item) for item in items]
            masked: list[object] = list(secrets.mask_argv(words, self.counts))
        else:
            masked = [self._value(item, name) for item in items]
        same = all(
            after is before or (isinstance(after, str) and after == before)
            for after, before in zip(masked, items, strict=True)
        )
        return items if same else tuple(masked)

    def _dict(self, items: dict[object, object]) -> dict[object, object]:
        masked = {
            key: secrets.mask_value(str(key), value, self.counts)
            if isinstance(value, str)
            else self._value(value, str(key))
            for key, value in items.items()
        }
        return items if masked == items else masked
