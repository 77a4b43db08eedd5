"""Where journal files lie, what is wrong with them, and journald's settings."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from gotriage.host import Host
from gotriage.host.journal import container_match, process_match, unit_match
from gotriage.host.journal_files import journal_files, parse_header, places, settings

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = "0123456789abcdef0123456789abcdef"


def header(size: int = 4096, entries: int = 3) -> bytes:
    numbers = [208, size - 208, 0, 0, 0, 0, 0, 0, entries, 0, 0, 0, 1_000_000, 2_000_000]
    return struct.pack("<8sII B7x 16s16s16s16s 14Q", b"LPKSHHRH", 0, 0, 1, b"", b"", b"", b"", *numbers)


def put(root: Path, path: str, data: bytes = b"") -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def test_headers():
    assert parse_header(header(), 4096) == ("", (3, 1_000_000, 2_000_000))
    assert parse_header(header(entries=0), 4096) == ("", (0, None, None))
    assert parse_header(header(), 2048) == ("truncated", (3, 1_000_000, 2_000_000))
    assert parse_header(b"X" * 300, 4096) == ("bad header", (None, None, None))
    assert parse_header(b"LPKSHHRH", 8) == ("truncated", (None, None, None))


def test_places_and_files(tmp_path: Path):
    host = Host(view=tmp_path)
    assert [place.folders for place in places(host)] == [()]
    put(tmp_path, "/etc/machine-id", MACHINE.encode() + b"\n")
    put(tmp_path, f"/var/log/journal/{MACHINE}/system.journal", header().ljust(4096, b"\0"))
    put(tmp_path, f"/var/log/journal/{MACHINE}/system@1.journal~", header().ljust(1024, b"\0"))
    put(tmp_path, f"/var/log/journal/{MACHINE}/notes.txt", b"x")
    put(tmp_path, f"/run/log/journal/{MACHINE}/system.journal", b"nonsense" * 100)
    put(tmp_path, f"/var/log/journal/{MACHINE}.apps/system.journal", header().ljust(4096, b"\0"))
    put(tmp_path, f"/var/log/journal/{'f' * 32}/system.journal", b"another machine")
    found = {place.namespace: place for place in places(host)}
    assert set(found) == {"", "apps"}
    files = list(journal_files(host, found[""], headers=True))
    assert [(file.path.rpartition("/")[2], file.persistent, file.damage) for file in files] == [
        ("system.journal", True, ""),
        ("system@1.journal~", True, "truncated"),
        ("system.journal", False, "bad header"),
    ]
    assert files[0].oldest_us == 1_000_000
    assert [file.entries for file in journal_files(host, found["apps"], headers=True)] == [3]


def test_settings(tmp_path: Path):
    host = Host(view=tmp_path)
    assert settings(host) == {}
    put(
        tmp_path,
        "/etc/systemd/journald.conf",
        b"#Storage=auto\n[Journal]\nStorage=volatile\n RateLimitBurst = 7\n[X]\nA=1\n",
    )
    put(tmp_path, "/usr/lib/systemd/journald.conf.d/50-a.conf", b"[Journal]\nStorage=none\n")
    put(tmp_path, "/etc/systemd/journald.conf.d/50-a.conf", b"[Journal]\nStorage=persistent\n")
    put(tmp_path, "/run/systemd/journald.conf.d/90-b.conf", b"[Journal]\nRateLimitBurst=9\n\xff\n")
    assert settings(host) == {"Storage": "persistent", "RateLimitBurst": "9"}
    put(tmp_path, "/etc/systemd/journald@apps.conf", b"[Journal]\nStorage=none\n")
    assert settings(host, "apps") == {"Storage": "none"}


def test_matches():
    assert unit_match("a.service")[1] == ("_PID=1", "UNIT=a.service")
    assert len(unit_match("a.slice")) == 5
    assert all("_UID=1001" in alternative for alternative in unit_match("a.service", 1001))
    assert process_match((7, 8), "ab-cd")[0] == ("_PID=7", "_BOOT_ID=abcd")
    assert container_match("x") == (("CONTAINER_ID_FULL=x",),)
