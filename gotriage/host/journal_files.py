"""The files of systemd's journal: where they lie, whether they can be read, are whole, and will last."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.host.journal import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gotriage.host import Host

PERSISTENT, RUNTIME = "/var/log/journal", "/run/log/journal"
"""systemd-journald.service(8), FILES."""
MAX_FILES = 2000
_ID = re.compile(r"[0-9a-f]{32}")
_NAMESPACED = re.compile(r"[0-9a-f]{32}\.([A-Za-z0-9:_.@-]{1,64})")


@dataclass(frozen=True, slots=True)
class JournalFile:
    """One journal file. Sizes in bytes, times in nanoseconds (mtime) and microseconds (of entries) since the epoch.

    `damage` says what is wrong with it: "bad header", "truncated"; a file that may not be read has neither.
    """

    path: str
    size: int
    modified_ns: int
    persistent: bool
    readable: bool
    damage: str = ""
    entries: int | None = None
    oldest_us: int | None = None
    newest_us: int | None = None


def machine_id(host: Host) -> str:
    """/etc/machine-id (machine-id(5)), "" where there is none."""
    try:
        text = host.at("/etc/machine-id").read_bytes()[:33].decode("ascii", "replace").strip()
    except OSError:
        return ""
    return text if _ID.fullmatch(text) else ""


def places(host: Host) -> list[Place]:
    """The host's own journal and those of its log namespaces (folders `MACHINE-ID.NAMESPACE`)."""
    found: dict[str, list[str]] = {"": []}
    own = machine_id(host)
    for base in (PERSISTENT, RUNTIME):
        folder = host.at(base)
        for name in _names(folder):
            if match := _NAMESPACED.fullmatch(name):
                found.setdefault(match[1], []).append(str(folder / name))
            elif name == own or (not own and _ID.fullmatch(name)):
                found[""].append(str(folder / name))
    return [Place(namespace, tuple(folders)) for namespace, folders in found.items()]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))[:MAX_FILES]
    except OSError:
        return []


def journal_files(host: Host, place: Place, *, headers: bool = False) -> Iterator[JournalFile]:
    """The files of one place; with `headers`, each one's header is read as well."""
    persistent = str(host.at(PERSISTENT))
    left = MAX_FILES
    for folder in place.folders:
        for entry in _scan(folder):
            if left <= 0 or not entry.name.endswith((".journal", ".journal~")):
                continue
            left -= 1
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            readable = os.access(entry.path, os.R_OK)
            damage, head = _header(entry.path, facts.st_size) if headers and readable else ("", (None, None, None))
            lasting = folder.startswith(persistent)
            yield JournalFile(
                entry.path, facts.st_size, facts.st_mtime_ns, lasting, readable, damage, head[0], head[1], head[2]
            )


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


_HEAD = struct.Struct("<8sII B7x 16s16s16s16s 14Q")
"""struct Header of src/libsystemd/sd-journal/journal-def.h (systemd 187 to 259), up to tail_entry_realtime."""
_Facts = tuple[int | None, int | None, int | None]


def parse_header(data: bytes, size: int) -> tuple[str, _Facts]:
    """What is wrong with a file of `size` bytes that begins so ("" when nothing); entries, oldest and newest time."""
    if len(data) < _HEAD.size:
        return "truncated", (None, None, None)
    numbers = _HEAD.unpack_from(data)
    if numbers[0] != b"LPKSHHRH":
        return "bad header", (None, None, None)
    header_size, arena_size = numbers[8], numbers[9]
    entries, oldest, newest = numbers[16], numbers[20], numbers[21]
    facts: _Facts = (entries, oldest or None, newest or None) if entries else (0, None, None)
    return ("truncated" if size < header_size + arena_size else ""), facts


def _header(path: str, size: int) -> tuple[str, _Facts]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return "", (None, None, None)
    try:
        return parse_header(os.read(fd, _HEAD.size), size)
    finally:
        os.close(fd)


def settings(host: Host, namespace: str = "") -> dict[str, str]:
    """The [Journal] settings that are set, of journald.conf and its drop-ins (journald.conf(5)), later files win."""
    name = f"journald@{namespace}.conf" if namespace else "journald.conf"
    files = [host.at(f"/etc/systemd/{name}")]
    drop_ins: dict[str, Path] = {}
    for base in ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd"):
        folder = host.at(f"{base}/{name}.d")
        drop_ins.update({entry: folder / entry for entry in _names(folder) if entry.endswith(".conf")})
    files += [drop_ins[entry] for entry in sorted(drop_ins)]
    found: dict[str, str] = {}
    for path in files:
        try:
            with path.open("rb") as file:
                found.update(parse_settings(file.read(65536).decode("utf-8", "replace")))
        except OSError:
            continue
    return found


def parse_settings(text: str) -> dict[str, str]:
    """The assignments of the [Journal] section."""
    found, section = {}, ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif "=" in line and line[0] not in "#;" and section == "[Journal]":
            key, _, value = line.partition("=")
            found[key.strip()] = value.strip()
    return found
