"""The tabs of paths and of what a program takes for granted, on a made session."""

from __future__ import annotations

from gotriage.records.findings import Verdict
from gotriage.records.minimal import Condition, Minimal
from gotriage.records.paths import Component, FileSystems, FileSystemUse, Paths, PathUse
from gotriage.session.store import Session

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, drive, lines

SHUT = PathUse(
    path="/srv/shut/app.yaml",
    state="refused",
    source="argument 2",
    needs="r",
    reason="uid 33 may not enter /srv/shut",
    owner="root:root",
    mode="-rw-r--r--",
    components=(Component("/", "root:root", "drwxr-xr-x"), Component("/srv/shut", "root:root", "drwx------", "", "x")),
)
FULL = FileSystemUse(
    point="/data", kind="ext4", source="/dev/dm-0", disks=("dm-0 (vg-data, LVM)", "sda2", "sda"), total_bytes=10**9,
    room_bytes=0, inodes=100, inodes_room=50, written=True,
)  # fmt: skip


def front():
    session = Session()
    for record in made.beginning():
        session.feed(record)
    session.feed(Paths(at=made.START, rows=(SHUT, PathUse(path="/data", needs="wx", mount="/data")), uid=33))
    session.feed(FileSystems(at=made.START, systems=(FULL,)))
    row = Condition(group="devices", name="/dev/null", state="fault", value="missing", detail="os/exec", fix="mknod")
    session.feed(Minimal(at=made.START, rows=(row, Condition(group="time", name="clock")), kernel="6.1.0", zone="UTC"))
    return made.front(session, Verdict(at=made.START))


def typed(*keys, size=SMALL):
    async def use(app, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        return "\n".join(lines(app))

    return drive(front(), use, size)


def test_paths_that_may_not_be_used_come_first():
    for size in (SMALL, LARGE):
        seen = typed("A", size=size)
        for words in ("2 paths", "1 not usable", "/data 100 % full", "refused", "/srv/shut/app.yaml"):
            assert words in seen, seen
    assert "uid 33 may not enter /srv/shut" in seen


def test_each_component_of_a_path():
    seen = typed("A", "enter")
    assert "drwx------" in seen
    assert "refuses x" in seen


def test_the_file_systems_below():
    seen = typed("A", "d")
    for words in ("/data", "0B of 954M left", "dm-0 (vg-data, LVM) on sda2 on sda", "100 % full"):
        assert words in seen, seen


def test_what_is_taken_for_granted():
    seen = typed("M")
    for words in ("1 fault", "kernel 6.1.0", "local time UTC", "/dev/null", "missing"):
        assert words in seen, seen
    assert "mknod" in typed("M", "enter")
