"""File systems that take nothing more, and threads that hang: rules on records and on the words of its log."""

from __future__ import annotations

import pytest
from gotriage.records.environment import Access
from gotriage.records.paths import FileSystems, FileSystemUse, Paths, PathUse, Sleeper, Sleepers

DATA = PathUse(path="/data/db", source="argument 2", needs="wx", mount="/data", system="ext4")


def system(**facts):
    known = {"point": "/data", "kind": "ext4", "source": "/dev/sdb1", "total_bytes": 10**12, "room_bytes": 10**11}
    return FileSystemUse(**{**known, "inodes": 1_000_000, "inodes_room": 500_000, "written": True, **facts})


def seen(story, row=DATA, **facts):
    return story.add(Paths, rows=(row,)).add(FileSystems, systems=(system(**facts),)).add(Sleepers, threads=7)


def test_what_is_in_order_is_told_with_numbers(running):
    assert seen(running).ids() == []
    assert running.fine("uninterruptible-sleep").text == "7 threads, none hangs in the kernel"
    assert running.fine("read-only-filesystem")
    assert running.fine("inodes-exhausted")
    assert running.fine("permission-denied").text == "1 own path accessible"


@pytest.mark.parametrize(("room", "severity"), [(0, "critical"), (900, "warning"), (40_000, None)])
def test_inodes(running, room, severity):
    found = {claim.id: claim for claim in seen(running, inodes_room=room).verdict().findings}
    assert (found["inodes-exhausted"].severity if found else None) == severity


def test_nobody_writes_there(running):
    row = PathUse(path="/data/db", source="argument 2", needs="r", mount="/data")
    assert seen(running, row, inodes_room=0, room_bytes=0, written=False).ids() == []


@pytest.mark.parametrize(("room", "severity"), [(0, "critical"), (10**9, "warning"), (10**10, None)])
def test_space(running, room, severity):
    found = {claim.id: claim for claim in seen(running, room_bytes=room).verdict().findings}
    assert (found["disk-full"].severity if found else None) == severity


def test_a_quota_that_is_used_up(running):
    found = seen(running, quota_bytes=10**9, quota_used=10**9).finding("disk-full")
    assert (found.severity, found.subject) == ("critical", "/data")
    assert "quota" in found.title


def test_writes_that_failed_for_want_of_inodes_are_explained(running):
    seen(running, inodes_room=0).log("open /data/db/x: no space left on device", 5)
    assert running.finding("disk-full").because == "inodes-exhausted"


def test_a_file_system_that_the_kernel_made_read_only(running):
    seen(running)
    row = PathUse(path="/data/db/log", state="read-only", source="fd 7", needs="w", mount="/data")
    running.now = 30
    seen(running, row, read_only="file system", errors=3)
    found = running.finding("read-only-filesystem")
    assert (found.severity, found.subject, found.since) == ("critical", "/data", running.time(0))
    assert "ext4 has counted 3 errors on /dev/sdb1" in found.evidence


def test_what_only_its_log_says_of_a_read_only_file_system(running):
    seen(running).log("mkdir /srv/x: read-only file system", 5)
    assert running.finding("read-only-filesystem").subject == "/srv/x"
    running.beat(400)
    assert running.ids() == []


def test_a_panic_is_explained_by_it(story):
    story.log(
        "panic: open /srv/x: read-only file system\n\ngoroutine 1 [running]:\nmain.main()\n\t/m.go:7", 5, kind="panic"
    )
    assert story.down().finding("panic").because == "read-only-filesystem"


@pytest.mark.parametrize(("age", "severity"), [(5, None), (20, "warning"), (100, "critical")])
def test_threads_that_hang(running, age, severity):
    one = Sleeper(pid=4242, tid=4250, since=running.time(0), name="web", wait="rpc_wait_bit_killable", call="read")
    running.add(Sleepers, 5, sleepers=(one,), threads=9).beat(age)
    running.add(FileSystems, systems=(system(kind="nfs4", stalled=True, room_bytes=None),))
    found = running.verdict().findings
    assert [claim.severity for claim in found] == ([severity] if severity else [])
    if severity:
        assert "/data (nfs4 from /dev/sdb1) does not answer" in found[0].evidence


def test_a_paused_container_is_named_so(running):
    one = Sleeper(pid=4242, tid=4242, since=running.time(0), wait="__refrigerator")
    running.add(Sleepers, sleepers=(one,), threads=1).beat(300)
    found = running.finding("uninterruptible-sleep")
    assert found.severity == "warning"
    assert found.fix.startswith("docker unpause")


def test_refused_paths_that_only_the_look_at_paths_knows(running):
    row = PathUse(
        path="/data/db", state="refused", source="argument 2", needs="wx", reason="it is immutable (chattr +i)"
    )
    opened = PathUse(path="/data/log", source="fd 3", needs="w", reason="opening it anew is refused")
    running.add(Access, checked=1).add(Paths, rows=(row, opened))
    found = [claim for claim in running.verdict().findings if claim.id == "permission-denied"]
    assert [claim.subject for claim in found] == ["/data/db"]
