"""What every record has: a kind (the tag on the wire), a time, and room for values that could not be had."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec


class Why(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a value is not there: the reason, what would supply it, and whether it was a permission that lacked."""

    reason: str
    remedy: str = ""
    permission: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """A fact about the target at a time; frozen, free of colour and of preformatted text.

    Fields are only ever added, with defaults, so that old recordings open for ever. A field that is None was
    not measured; `unknown` may say why, by field name. Every text from outside has passed `records.text.clean`.

    Attributes:
        at: when the fact was true, UTC.
        unknown: field name to the reason why that field is None.
    """

    at: datetime
    unknown: dict[str, Why] = {}

    keep: ClassVar[int] = 600
    """How many records of this type a live session keeps (a table type sets less than a sample type)."""


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a record that is a table; such a record names its rows `rows`."""
