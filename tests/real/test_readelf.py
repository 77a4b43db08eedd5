"""The dynamic section and notes of this machine's files, against GNU readelf."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from gotriage.goruntime import readelf
from gotriage.goruntime.elf import Elf, ElfError

pytestmark = pytest.mark.real


def test_the_same_words_as_readelf():
    checked = 0
    for path in [
        *sorted(Path("/usr/bin").iterdir())[::15],
        *sorted(Path("/usr/lib/x86_64-linux-gnu").glob("*.so.*"))[::9],
    ]:
        try:
            with Elf(path) as elf:
                rows = readelf.rows(elf)
        except (ElfError, OSError):
            continue
        out = subprocess.run(["readelf", "-dnW", path], capture_output=True, text=True, check=False).stdout
        theirs = [(tag, value.strip()) for tag, value in re.findall(r"^ 0x[0-9a-f]+ \((\S+)\)([^\n]*)$", out, re.M)]
        assert [(t, v) for s, t, v in rows if s == ".dynamic"] == [row for row in theirs if row[0] != "NULL"], path
        for _, tag, value in rows:
            if tag.startswith(("NT_GNU_BUILD", "NT_GNU_ABI", "NT_GNU_PROP")):
                assert value in out, path
        checked += 1
    assert checked > 20
