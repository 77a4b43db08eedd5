"""Mounts of a process: which one holds a path, which may hang."""

from __future__ import annotations

from gotriage.host import mounts

TEXT = (
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "30 22 0:40 / /mnt/nfs\\040share ro,relatime - nfs4 server:/x rw,vers=4.2\n"
    "31 22 0:41 / /fuse rw - fuse.sshfs host: rw\n"
    "32 22 0:42 / /var rw,noexec - xfs /dev/vdb rw\n"
    "33 22 0:43 / /var rw - tmpfs tmpfs ro\n"
    "garbage\n1 2 3 - x\n"
)


def test_parse_and_the_newest_of_equals():
    found = mounts.parse(TEXT)
    assert [mount.point for mount in found] == ["/", "/mnt/nfs share", "/fuse", "/var", "/var"]
    assert "ro" in found[1].options
    assert mounts.holding(found, "/var/log/x").kind == "tmpfs"
    assert mounts.holding(found, "/variety").point == "/"
    assert mounts.holding(found, "/var").kind == "tmpfs"
    assert mounts.holding([], "/x") is None


def test_what_may_hang():
    assert mounts.hanging(mounts.parse(TEXT)) == ("/fuse/", "/mnt/nfs share/")
    assert mounts.hanging([]) == ()
