"""History from the files of a journal: the entries of libsystemd, whatever is in them; damage is noticed."""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from gotriage.host import Host, journal_scan
from gotriage.host.journal import Place, unit_match
from gotriage.host.journal_library import LibraryReader
from gotriage.host.journal_scan import Unreadable
from gotriage.host.siphash import siphash24

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REMOTE = "/lib/systemd/systemd-journal-remote"
UNIT = "api.service"
START = 1_763_900_000_000_000
ENTRIES = 6000
OF_UNIT = unit_match(UNIT)


def entry(number: int) -> bytes:
    """An entry in the export format: of the unit or of another, with a message of every kind."""
    words = [
        f"__REALTIME_TIMESTAMP={START + number * 1000}",
        f"__MONOTONIC_TIMESTAMP={number * 1000 + 5_000_000}",
        "_BOOT_ID=5d1a3c6f2e8b4a70912c3d4e5f607182",
        f"PRIORITY={6 if number % 9 else 3}",
        f"_PID={4000 + number // 1500}",
        "_TRANSPORT=stdout",
        f"_STREAM_ID=aa{number // 1500:030x}",
    ]
    if number % 50 == 7:
        words += ["_PID=1", f"UNIT={UNIT}", "_SYSTEMD_UNIT=init.scope", f"N_RESTARTS={number}"]
        words = [word for word in words if not word.startswith(("_PID=4", "_STREAM_ID"))]
    else:
        words.append(f"_SYSTEMD_UNIT={UNIT if number % 5 else 'other.service'}")
    data = "\n".join(words).encode() + b"\n"
    if number % 11 == 0:
        message = b"the same again"
    elif number % 13 == 0:
        message = b"long " + bytes(str(number), "ascii") * 400
    elif number % 17 == 0:
        message = b"two\nlines\xff\x00"
    elif number % 19 == 0:
        data += b"TAG=one\nTAG=two\n"
        message = b"twice"
    else:
        message = f"request {number} served".encode()
    if number % 101 == 0:
        return data + b"\n"
    if number % 103 == 0:
        data += b"MESSAGE=first\n"
    if b"\n" in message or b"\0" in message:
        return data + b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n\n"
    return data + b"MESSAGE=" + message + b"\n\n"


def make(folder: Path, name: str, numbers: Iterable[int]) -> None:
    data = b"".join(map(entry, numbers))
    words = [REMOTE, "-o", str(folder / name), "--split-mode=none", "-"]
    subprocess.run(words, input=data, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files that follow each other, and one whose entries lie between those of the second."""
    place = tmp_path_factory.mktemp("journal")
    make(place, "a.journal", range(ENTRIES // 2))
    make(place, "b.journal", range(ENTRIES // 2, ENTRIES, 2))
    make(place, "c.journal", range(ENTRIES // 2 + 1, ENTRIES, 2))
    return place


def paths(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.journal"))]


def by_library(folder: Path, since_us: int | None, until_us: int | None, count: int, match=OF_UNIT):
    reader = LibraryReader(Host(), Place("test", (str(folder),)), match, 0)
    try:
        return [(dict(entry), us, message) for entry, us, _, message in reader._between(since_us, until_us, count)]
    finally:
        reader.close()


def by_scan(folder: Path, since_us: int | None, until_us: int | None, count: int, match=OF_UNIT):
    found = journal_scan.between(paths(folder), match, since_us, until_us, count)
    return [(dict(entry), us, message) for entry, us, _, message in found]


@pytest.mark.parametrize("count", [10**9, 100])
@pytest.mark.parametrize("since", [None, START + 1_000_500, START + 4_000_000])
@pytest.mark.parametrize("until", [None, START + 4_500_500, START + 900_500, START - 1])
def test_the_entries_of_libsystemd(folder: Path, since: int | None, until: int | None, count: int):
    expected = by_library(folder, since, until, count)
    assert by_scan(folder, since, until, count) == expected


@pytest.mark.parametrize(
    "match",
    [
        (("_PID=4001",),),
        (("_PID=4001", "_PID=4002", "PRIORITY=3"),),
        (("_PID=4001", "PRIORITY=3"), ("TAG=two",)),
        (("_PID=9",),),
    ],
)
def test_alternatives_of_terms(folder: Path, match):
    expected = by_library(folder, None, None, 10**9, match)
    assert by_scan(folder, None, None, 10**9, match) == expected
    assert bool(expected) == (match != (("_PID=9",),))


def test_where_the_files_cannot_be_read_on_libsystemd_does(folder: Path, monkeypatch: pytest.MonkeyPatch):
    expected = by_library(folder, None, None, 10**9)
    scan = journal_scan.between

    def cut(*arguments):
        for number, found in enumerate(scan(*arguments)):
            if number == 1000:
                raise Unreadable("as a test wants")
            yield found

    reader = LibraryReader(Host(), Place("test", (str(folder),)), unit_match(UNIT), 0)
    monkeypatch.setattr(journal_scan, "between", lambda _, *rest: cut(paths(folder), *rest))
    found = [(dict(entry), us, message) for entry, us, _, message in reader.between(None, None, 10**9)]
    reader.close()
    assert list({repr(one): one for one in found}.values()) == expected


def test_damage_is_noticed_or_harmless(folder: Path, tmp_path: Path):
    """No error but Unreadable, no endless loop, no memory without bounds, whatever bytes are changed."""
    whole = (folder / "a.journal").read_bytes()
    used = whole.rstrip(b"\0")
    generator, noticed = random.Random(7), 0
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(generator.choice((1, 8, 200))):
            place = generator.randrange(len(used))
            data[place] = generator.randrange(256)
            if generator.random() < 0.3:
                data[place : place + 8] = generator.randbytes(8)
        path = tmp_path / "a.journal"
        path.write_bytes(bytes(data[: len(data) if generator.random() < 0.8 else generator.randrange(len(used))]))
        try:
            assert sum(1 for _ in journal_scan.between([str(path)], unit_match(UNIT), None, None, 10**9)) <= ENTRIES
        except Unreadable:
            noticed += 1
    assert noticed


def test_other_formats_are_refused(folder: Path, tmp_path: Path):
    path = tmp_path / "a.journal"
    shutil.copy(folder / "a.journal", path)
    for place, value in ((0, b"X"), (12, b"\0"), (12, b"\xff")):
        data = bytearray((folder / "a.journal").read_bytes())
        data[place : place + 1] = value
        path.write_bytes(bytes(data))
        with pytest.raises(Unreadable):
            list(journal_scan.between([str(path)], unit_match(UNIT), None, None, 10))


def test_siphash_of_its_paper():
    assert siphash24(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5
