"""The files that a process has mapped for execution."""

from __future__ import annotations

from gotriage.host.mapped import Mapped, mapped_files
from gotriage.host.proc import Proc, parse_maps

MAPS = b"""\
5600-5700 r--p 00000000 fe:00 10                         /usr/bin/app
5700-5800 r-xp 00001000 fe:00 10                         /usr/bin/app
7f00-7f10 r-xp 00000000 fe:00 11                         /usr/lib/libold.so.1.2 (deleted)
7f10-7f20 r--p 00000000 fe:00 12                         /usr/share/data
7f20-7f30 r-xp 00000000 fe:00 11                         /usr/lib/libold.so.1.2 (deleted)
7f30-7f40 r-xp 00000000 00:01 99                         /memfd:jit (deleted)
7f40-7f50 r-xp 00000000 00:00 0                          [vdso]
7f50-7f60 rwxp 00000000 00:00 0
"""


def test_each_file_once():
    assert mapped_files(parse_maps(MAPS)) == (
        Mapped("/usr/bin/app", 10, False),
        Mapped("/usr/lib/libold.so.1.2", 11, True),
        Mapped("/memfd:jit", 99, True),
    )


def test_paths_are_those_of_the_process_s_root():
    assert mapped_files(parse_maps(MAPS), "/usr")[0].path == "/bin/app"


def test_this_process():
    import os

    paths = [file.path for file in mapped_files(Proc().maps(os.getpid()))]
    assert any("libc.so" in path for path in paths)
