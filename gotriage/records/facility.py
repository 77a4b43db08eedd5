"""What this machine lets gotriage do."""

from __future__ import annotations

from typing import Literal

from gotriage.records.base import Row


class Facility(Row, frozen=True, kw_only=True):
    """One thing that gotriage builds on: is it there, what is lost without it, which command mends it."""

    name: str
    state: Literal["ok", "limited", "missing"]
    detail: str = ""
    lost: str = ""
    remedy: str = ""
