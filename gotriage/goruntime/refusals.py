"""Why a process's Go runtime is not read: each is one clear line."""

from __future__ import annotations

from gotriage.errors import GotriageError


class NotGo(GotriageError):
    """No Go program of the standard toolchain: another language, or a Go compiler that has other tables."""


class UnsupportedGo(GotriageError):
    """A Go program that cannot be read: too old, 32-bit, packed, another machine; the text says which."""


class DamagedTables(GotriageError):
    """The Go program's own tables contradict themselves; the text says where."""
