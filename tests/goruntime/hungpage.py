"""A process with a mapped file of which the second page never comes: its file system's server has stopped answering.

Run as root: `python hungpage.py FOLDER`. Mounts FUSE on the folder in a mount namespace of its own, and serves it, but
for the second page of the file. A child maps the file and prints its own PID and the address. When the server is
killed the child ends too, and whoever waits for the page gets an error.

Format: linux/fuse.h, 7.31.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys

CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 0x44000
LOOKUP, GETATTR, OPEN, READ, INIT = 1, 3, 14, 15, 26
PR_SET_PDEATHSIG = 1
ENOSYS = 38
PAGE = 4096


def attributes(node: int) -> bytes:
    """struct fuse_attr: the folder, or the file."""
    size, mode = (PAGE, 0o40755) if node == 1 else (2 * PAGE, 0o100644)
    return struct.pack("=6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)


def serve(device: int) -> None:
    """Answer everything but the read of the second page."""
    while True:
        data = os.read(device, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("=IIQQ", data)
        error, body = 0, b""
        if opcode == INIT:
            body = struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, 65536, 1, 16, 0, 0)
        elif opcode == LOOKUP:
            body = struct.pack("=4Q2I", 2, 0, 1000, 1000, 0, 0) + attributes(2)
        elif opcode == GETATTR:
            body = struct.pack("=QII", 1000, 0, 0) + attributes(node)
        elif opcode == OPEN:
            body = struct.pack("=QII", 1, 0, 0)
        elif opcode == READ:
            offset = struct.unpack_from("=Q", data, 48)[0]
            if offset >= PAGE:
                continue
            body = b"first page".ljust(PAGE, b".")
        else:
            error = -ENOSYS
        os.write(device, struct.pack("=IiQ", 16 + len(body), error, unique) + body)


def map_it(folder: str) -> None:
    """The child; it must not hold the device: its file system would wait for itself."""
    fd = os.open(os.path.join(folder, "file"), os.O_RDONLY)
    mapped = mmap.mmap(fd, 2 * PAGE, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
    mapped.madvise(mmap.MADV_RANDOM)
    with open("/proc/self/maps") as maps:
        address = next(line.split("-")[0] for line in maps if line.rstrip().endswith("/file"))
    print(os.getpid(), int(address, 16), flush=True)
    signal.pause()


def main() -> None:
    libc, folder = ctypes.CDLL(None, use_errno=True), os.fsencode(sys.argv[1])
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={PAGE}".encode()
    if (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
        or libc.mount(b"slow", folder, b"fuse", 0, options)
    ):
        raise OSError(ctypes.get_errno(), "mount")
    if os.fork() == 0:
        os.close(device)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        map_it(sys.argv[1])
    serve(device)


if __name__ == "__main__":
    main()
