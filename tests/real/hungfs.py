"""A process in a file system whose server has stopped answering, as NFS does when the server is gone.

Run as root: `python -m tests.real.hungfs FOLDER`. Mounts FUSE on the folder in a mount namespace of its own, answers
until it stands in it, prints "ready", and never answers again. Ends with its standard input.

Format: linux/fuse.h, 7.31.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading

CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 0x44000
GETATTR, INIT = 3, 26
ENOSYS = 38


def serve(device: int, silent: threading.Event) -> None:
    """Answer what comes until `silent` is set."""
    while True:
        data = os.read(device, 1 << 20)
        if silent.is_set():
            continue
        _, opcode, unique = struct.unpack_from("=IIQ", data)
        error, body = 0, b""
        if opcode == INIT:
            body = struct.pack("=IIIIHHIIHHI28x", 7, 31, 65536, 0, 16, 12, 65536, 1, 16, 0, 0)
        elif opcode == GETATTR:
            body = struct.pack("=QII6Q10I", 0, 0, 0, 1, 4096, 8, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
        else:
            error = -ENOSYS
        os.write(device, struct.pack("=IiQ", 16 + len(body), error, unique) + body)


def main() -> None:
    libc, folder = ctypes.CDLL(None, use_errno=True), os.fsencode(sys.argv[1])
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
        or libc.mount(b"gone", folder, b"fuse", 0, options)
    ):
        raise OSError(ctypes.get_errno(), "mount")
    silent = threading.Event()
    threading.Thread(target=serve, args=(device, silent), daemon=True).start()
    os.chdir(folder)
    silent.set()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
