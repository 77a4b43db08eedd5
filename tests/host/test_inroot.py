"""A target that lays traps in its file system does not lead us out of it."""

from __future__ import annotations

import os
import threading

import pytest
from gotriage.host.inroot import InRoot


@pytest.fixture
def trap(tmp_path):
    """A root with a secret of the host outside it, and links, FIFOs, loops and devices inside."""
    (tmp_path / "secret").write_text("the host's secret")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/app.conf").write_text("inside")
    (root / "etc/absolute").symlink_to(tmp_path / "secret")
    (root / "etc/relative").symlink_to("../../secret")
    (root / "etc/deep").symlink_to("../" * 30 + str(tmp_path / "secret").lstrip("/"))
    (root / "etc/good").symlink_to("/etc/app.conf")
    (root / "etc/loop").symlink_to("loop")
    (root / "etc/magic").symlink_to("/proc/self/root/etc/passwd")
    (root / "parent").symlink_to("..")
    os.mkfifo(root / "etc/fifo")
    return root


@pytest.mark.parametrize(
    "path", ["/etc/absolute", "/etc/relative", "/etc/deep", "/parent/secret", "/../secret", "/etc/loop", "/etc/magic"]
)
def test_no_path_leads_out(trap, path):
    with InRoot(str(trap)) as root, pytest.raises(OSError):
        root.read(path)


def test_links_resolve_inside(trap):
    with InRoot(str(trap)) as root:
        assert root.read("/etc/good") == b"inside"
        assert root.real("/etc/good") == "/etc/app.conf"
        assert root.exists("/etc/good")
        assert not root.exists("/etc/absolute")


def test_a_fifo_does_not_block(trap):
    with InRoot(str(trap)) as root, pytest.raises(OSError, match="not a regular file"):
        root.read("/etc/fifo")


def test_reads_and_listings_are_bounded(trap):
    with InRoot(str(trap)) as root:
        assert root.read("/etc/app.conf", limit=3) == b"ins"
        assert root.names("/etc", limit=2) == sorted(root.names("/etc", limit=2))
        assert len(root.names("/etc", limit=2)) == 2


def test_the_file_system_is_measured_inside(trap):
    with InRoot(str(trap)) as root:
        assert root.statvfs("/etc").f_blocks == os.statvfs(trap).f_blocks


def test_a_magic_link_of_proc_is_refused(trap):
    with InRoot("/") as root, pytest.raises(OSError):
        root.read(f"/proc/{os.getpid()}/exe")


def test_no_descriptor_is_left_or_inherited(trap):
    before = os.listdir("/proc/self/fd")
    with InRoot(str(trap)) as root:
        root.read("/etc/app.conf")
        assert not os.get_inheritable(root._dirfd)
    assert os.listdir("/proc/self/fd") == before


def test_a_writer_that_waits_for_a_reader_waits_on(trap):
    """Opening a FIFO would let its writer go on, into the arms of SIGPIPE."""
    passed = threading.Event()

    def write() -> None:
        os.close(os.open(trap / "etc/fifo", os.O_WRONLY))
        passed.set()

    writer = threading.Thread(target=write)
    writer.start()
    with InRoot(str(trap)) as root:
        for _ in range(20):
            with pytest.raises(OSError, match="not a regular file"):
                root.read("/etc/fifo")
    assert not passed.wait(0.2)
    os.close(os.open(trap / "etc/fifo", os.O_RDONLY | os.O_NONBLOCK))
    writer.join(5)
    assert passed.is_set()
