"""Block devices through LVM and partitions, quotas, rights by maps: pure parts and a made /sys."""

from __future__ import annotations

import struct

from gotriage.host import mounts
from gotriage.host.filesystems import Asker, disks, parse_quota
from gotriage.host.inroot import InRoot

from tests.collectors.fakes import write

MOUNTINFO = """\
22 1 254:3 / /data ro,relatime shared:1 - ext4 /dev/mapper/vg-data rw,errors=remount-ro
23 22 0:40 /sub /data/my\\040files rw - overlay overlay ro,lowerdir=/a:/b,upperdir=/u
24 22 0:41 / /mnt rw - nfs4 server:/x rw,hard
"""


def device(sys, number, path, **files):
    """A block device of the made /sys, with files below it."""
    place = sys / "devices" / path
    write(place, {"ro": "0\n", **{name.replace("__", "/"): text for name, text in files.items()}})
    link = sys / "dev" / "block" / number
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(place)
    return place


def slave(of, *others):
    (of / "slaves").mkdir()
    for other in others:
        (of / "slaves" / other.name).symlink_to(other)


def test_a_logical_volume_on_an_encrypted_partition(tmp_path):
    disk = device(tmp_path, "8:0", "pci/sda")
    part = device(tmp_path, "8:2", "pci/sda/sda2", partition="2\n")
    crypt = device(tmp_path, "254:0", "virtual/dm-0", dm__name="sda2_crypt\n", dm__uuid="CRYPT-LUKS2-00aa-x\n")
    data = device(tmp_path, "254:3", "virtual/dm-3", dm__name="vg-data\n", dm__uuid="LVM-abc\n", ro="1\n")
    slave(crypt, part)
    slave(data, crypt)
    assert disk.exists()
    assert disks(tmp_path, "254:3") == (
        "dm-3 (vg-data, LVM, read-only)",
        "dm-0 (sda2_crypt, encrypted)",
        "sda2",
        "sda",
    )


def test_devices_in_a_circle_end(tmp_path):
    one, other = device(tmp_path, "254:0", "virtual/dm-0"), device(tmp_path, "254:1", "virtual/dm-1")
    slave(one, other)
    slave(other, one)
    assert disks(tmp_path, "254:0") == ("dm-0", "dm-1")
    assert disks(tmp_path, "254:9") == ()


def test_what_mountinfo_tells_of_a_mount():
    data, inner, remote = mounts.parse(MOUNTINFO)
    assert (data.id, data.device, data.own, data.system) == (
        22, "254:3", frozenset(["ro", "relatime"]), ("rw", "errors=remount-ro"),
    )  # fmt: skip
    assert not data.writable
    assert (inner.point, inner.root, inner.writable) == ("/data/my files", "/sub", False)
    assert remote.writable
    assert remote.may_hang


def test_quotas():
    layout = struct.Struct("@8QI4x")
    assert parse_quota(layout.pack(2000, 1000, 300_000, 0, 0, 0, 0, 0, 63)) == (2_048_000, 300_000)
    assert parse_quota(layout.pack(0, 1000, 5, 0, 0, 0, 0, 0, 63)) == (1_024_000, 5)
    assert parse_quota(layout.pack(0, 0, 5, 0, 0, 0, 0, 0, 63)) is None


def test_what_may_hang_is_asked_in_a_child(tmp_path):
    asker = Asker()
    with InRoot(str(tmp_path)) as root:
        asked = [asker.space(root, "/", "0:1", may_hang=hangs).total for hangs in (True, False)]
    asker.close()
    assert asked[0] == asked[1] > 0
