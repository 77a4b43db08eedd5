"""Settings: thresholds of the rules, theme, interval and keys, from TOML files.

Read in this order, later ones over earlier ones:

    /etc/gotriage/config.toml                         the machine's
    $XDG_CONFIG_HOME/gotriage/config.toml             the effective user's (~/.config/gotriage/config.toml)

or, with `--config FILE`, from that file alone. Under sudo and as root HOME and XDG_CONFIG_HOME may still be the
caller's, so the home of the effective user is taken from the user database then. A file looks like

    theme = "light"
    interval = 2.0
    [keys]
    quit = "ctrl+q"
    [thresholds.fd-exhaustion]
    warning = 0.7
"""

from __future__ import annotations

import math
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gotriage.errors import NotPermitted, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_FILE = Path("/etc/gotriage/config.toml")
MAX_BYTES = 1024 * 1024
"""Longest settings file that is read."""
MIN_INTERVAL, MAX_INTERVAL = 0.1, 3600.0
"""Seconds between two looks that make sense: less costs the machine more than it tells."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user has set; nothing here is needed.

    Attributes:
        thresholds: rule id to threshold name to value; the defaults stand with the rules (docs/findings.md).
        theme: colours of the screens, None for the default.
        interval: seconds between two looks of the collectors that look once a second, None for the default.
        keys: action of the screens to the key that does it, in Textual's words.
        unread: what to tell about files that nobody named and that may not be read.
    """

    thresholds: dict[str, dict[str, float]] = {}
    theme: Literal["dark", "light"] | None = None
    interval: float | None = None
    keys: dict[str, str] = {}
    unread: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A settings file as TOML has it; maps are checked by hand, because msgspec does not name their keys."""

    thresholds: dict[str, Any] = {}
    theme: Literal["dark", "light"] | None = None
    interval: float | None = None
    keys: dict[str, Any] = {}


def load(path: str | None = None, known: Mapping[str, Mapping[str, float]] | None = None) -> Settings:
    """The settings of the files above, or of `path` alone.

    `known` are the thresholds that exist; any other name is an error. Raises UsageError with the file and the key in
    its text, and NotPermitted for a `path` that may not be read; of the usual files that is only a remark.
    """
    if path is not None:
        given = _read(Path(path), known)
        if given is None:
            raise UsageError(f"{path}: no such settings file")
        return given
    return _merge([settings for file in (SYSTEM_FILE, user_file()) if file and (settings := _usual(file, known))])


def _usual(path: Path, known: Mapping[str, Mapping[str, float]] | None) -> Settings | None:
    """A file that is read unasked: HOME may be another user's, whose settings are not for us."""
    try:
        return _read(path, known)
    except NotPermitted as error:
        return Settings(unread=(f"these settings do not count: {error}",))


def user_file() -> Path | None:
    """The effective user's settings file, whether it exists or not; None for a user without a home."""
    uid = os.geteuid()
    if uid and "SUDO_UID" not in os.environ:
        folder = os.environ.get("XDG_CONFIG_HOME", "")
        if folder.startswith("/"):
            return Path(folder) / "gotriage" / "config.toml"
        home = os.environ.get("HOME", "")
        if home.startswith("/"):
            return Path(home) / ".config" / "gotriage" / "config.toml"
    try:
        return Path(pwd.getpwuid(uid).pw_dir) / ".config" / "gotriage" / "config.toml"
    except KeyError:
        return None


def _merge(found: list[Settings]) -> Settings:
    merged = Settings()
    for settings in found:
        thresholds = {rule: dict(values) for rule, values in merged.thresholds.items()}
        for rule, values in settings.thresholds.items():
            thresholds.setdefault(rule, {}).update(values)
        merged = Settings(
            thresholds=thresholds,
            theme=settings.theme or merged.theme,
            interval=merged.interval if settings.interval is None else settings.interval,
            keys={**merged.keys, **settings.keys},
            unread=merged.unread + settings.unread,
        )
    return merged


def _read(path: Path, known: Mapping[str, Mapping[str, float]] | None) -> Settings | None:
    """One file, None when it is not there."""
    try:
        raw = _bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise NotPermitted(f"{path}: {error.strerror}; make it readable, or name another with --config FILE") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    try:
        file = msgspec.toml.decode(raw, type=_File)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {_explained(str(error))}") from error
    if file.interval is not None and not MIN_INTERVAL <= file.interval <= MAX_INTERVAL:
        raise UsageError(f"{path}: interval = {file.interval:g} is not between {MIN_INTERVAL:g} and 3600 seconds")
    for action, key in file.keys.items():
        if not isinstance(key, str):
            raise UsageError(f'{path}: keys.{action} = {key!r} is not a key; write keys.{action} = "x"')
    return Settings(_thresholds(path, file.thresholds, known), file.theme, file.interval, file.keys)


def _bytes(path: Path) -> bytes:
    """The file, bounded; a FIFO or a device must not hang us. Raises OSError or UsageError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{path}: not a regular file")
    with os.fdopen(fd, "rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{path}: larger than {MAX_BYTES} bytes: not a settings file")
    return raw


def _explained(text: str) -> str:
    """msgspec's words with the key instead of its own path: "unknown key ..."."""
    text = text.replace("Object contains unknown field", "unknown key")
    return text.replace(" - at `$.", " in `").replace(" - at `key` in `$.", " in `")


def _thresholds(
    path: Path, tables: Mapping[str, Any], known: Mapping[str, Mapping[str, float]] | None
) -> dict[str, dict[str, float]]:
    checked: dict[str, dict[str, float]] = {}
    for rule, values in tables.items():
        if known is not None and rule not in known:
            raise UsageError(f"{path}: unknown key `thresholds.{rule}`; rules with thresholds: {', '.join(known)}")
        if not isinstance(values, dict):
            raise UsageError(f"{path}: thresholds.{rule} is not a table; write [thresholds.{rule}]")
        for name, value in values.items():
            if known is not None and name not in known[rule]:
                raise UsageError(f"{path}: unknown key `thresholds.{rule}.{name}`; it has {', '.join(known[rule])}")
            checked.setdefault(rule, {})[name] = _number(path, f"thresholds.{rule}.{name}", value)
    return checked


def _number(path: Path, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise UsageError(f"{path}: {key} = {value!r} is not a number of zero or more")
    return float(value)
