"""A machine with Debian's stock kernel under qemu: kprobes, every cgroup v2 controller, SELinux in permissive mode.

What this machine's own kernel lacks is tried there. The disk is made once into .cache/vm (minutes); each boot throws
its writes away. Everything is emulated (TCG), so it is ten times slower than the machine that it runs on.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOME = Path(__file__).parents[2] / ".cache" / "vm"
SUITE = "bookworm"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "libpam-systemd", "linux-image-cloud-amd64", "initramfs-tools", "zstd", "kmod",
    "udev", "iproute2", "procps", "python3", "python3-systemd", "selinux-basics", "selinux-policy-default",
    "policycoreutils", "e2fsprogs", "util-linux", "openssh-server", "libbpf1", "bpftrace", "strace", "ltrace",
    "linux-perf", "systemd-coredump",
)  # fmt: skip
MEMORY = 1536
"""Megabytes."""
BOOT = 600.0
"""Seconds until the first answer over ssh at most; about 60 on a quiet machine."""
UNIT = """[Match]
Name=en*

[Network]
DHCP=yes
"""


def _run(*words: str | Path, **options) -> None:
    subprocess.run([str(word) for word in words], check=True, **options)


def build() -> Path:
    """The folder with disk, kernel and key; made when it is not there, or was made of other packages."""
    made_of = "\n".join(PACKAGES)
    if (HOME / "ready").exists() and (HOME / "ready").read_text() == made_of:
        return HOME
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    root = HOME / "root"
    with (HOME / "build.log").open("wb") as log:
        options = {"stdout": log, "stderr": log}
        key = HOME / "key"
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key, **options)
        packages = ",".join(PACKAGES)
        _run("mmdebstrap", "--variant=minbase", f"--include={packages}", SUITE, root, **options)
        (root / "etc/hostname").write_text("stock\n")
        (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
        (root / "etc/systemd/network/10-en.network").write_text(UNIT)
        keys = root / "root/.ssh"
        keys.mkdir(mode=0o700, exist_ok=True)
        (keys / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
        for unit in ("systemd-networkd", "ssh"):
            _run("systemctl", "--root", root, "enable", unit, **options)
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(next((root / "boot").glob(f"{name}-*")), HOME / name)
        disk = HOME / "disk.img"
        with disk.open("wb") as file:
            file.truncate(4 << 30)
        _run("mkfs.ext4", "-q", "-F", "-d", root, disk, **options)
        _label(disk, options)
    shutil.rmtree(root)
    (HOME / "ready").write_text(made_of)
    return HOME


def _label(disk: Path, options: dict) -> None:
    """SELinux contexts on every file, as the policy says."""
    place = HOME / "mount"
    place.mkdir()
    _run("mount", "-o", "loop", disk, place, **options)
    try:
        _run("mount", "-t", "proc", "proc", place / "proc", **options)
        contexts = "/etc/selinux/default/contexts/files/file_contexts"
        _run("chroot", place, "setfiles", "-F", "-m", contexts, "/", **options)
    finally:
        subprocess.run(["umount", "-R", str(place)], check=False)
        place.rmdir()


class Machine:
    """A running one, spoken to over ssh."""

    def __init__(self, port: int) -> None:
        self._ssh = [
            "ssh", "-q", "-p", str(port), "-i", str(HOME / "key"), "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "root@127.0.0.1",
        ]  # fmt: skip

    def run(self, command: str, *, seconds: float = 300.0, data: bytes | None = None) -> subprocess.CompletedProcess:
        """A shell command there."""
        return subprocess.run([*self._ssh, command], input=data, capture_output=True, timeout=seconds, check=False)

    def copy(self, paths: Sequence[str], to: str, folder: Path) -> None:
        """Files and folders of `folder`, without caches, into `to`."""
        tar = subprocess.run(
            ["tar", "-C", str(folder), "--exclude=__pycache__", "-czf", "-", *paths], capture_output=True, check=True
        )
        done = self.run(f"mkdir -p {to} && tar -C {to} -xzf -", data=tar.stdout, seconds=900)
        assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def booted() -> Iterator[Machine]:
    """A machine until the end of the block."""
    build()
    port = _free_port()
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2", "-m", str(MEMORY),
        "-nographic", "-no-reboot", "-nodefaults", "-serial", f"file:{HOME}/boot.log",
        "-kernel", f"{HOME}/vmlinuz", "-initrd", f"{HOME}/initrd.img",
        "-append", "root=/dev/vda rw console=ttyS0 security=selinux selinux=1 enforcing=0 quiet",
        "-drive", f"file={HOME}/disk.img,if=virtio,format=raw,snapshot=on",
        "-netdev", f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    machine = Machine(port)
    try:
        until = time.monotonic() + BOOT
        while True:
            with suppress(subprocess.TimeoutExpired):
                if machine.run("true", seconds=20).returncode == 0:
                    break
            assert process.poll() is None, "qemu has ended"
            assert time.monotonic() < until, (HOME / "boot.log").read_text(errors="replace")[-2000:]
            time.sleep(1.0)
        machine.run(f"date -s @{int(time.time())}")
        yield machine
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    os.umask(0o022)
    print(build())
