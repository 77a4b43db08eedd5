"""What `gotriage shell` makes of its words, and of names that come from outside."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from gotriage.cli.parser import build
from gotriage.cli.shell import DEFAULT, kinds_of, prompt
from gotriage.errors import UsageError
from gotriage.host.toolview import applets, is_static


def test_the_words_behind_the_dashes_are_the_commands():
    given = build().parse_args(["shell", "--pid", "7", "--ns", "net,pid", "--", "ls", "-l", "--", "x"])
    assert (given.pid, given.ns) == (7, "net,pid")
    assert given.words[:2] == ["ls", "-l"]
    assert build().parse_args(["shell", "--pid", "7"]).words == []


def test_namespaces_by_name():
    assert "mnt" not in kinds_of(None)
    assert kinds_of(None) == DEFAULT
    assert kinds_of("mount, network") == ("net", "mnt")
    assert set(kinds_of("all")) == {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}
    with pytest.raises(UsageError, match="no namespace 'x'"):
        kinds_of("net,x")


@pytest.mark.parametrize("name", ["$(touch /tmp/x)", "`id`", "a\nb", "\x1b[31m", "\\w", "x" * 500, "ü"])
def test_a_name_in_the_prompt_is_never_evaluated(name):
    shown = prompt(name, ["pid", "net"])
    assert shown.endswith(" net,pid] \\w \\$ ")
    inner = shown.removesuffix(" net,pid] \\w \\$ ")
    assert not set(inner) & set("$`\\\n\x1b(){}!")
    assert len(inner) < 60


def test_a_program_with_a_loader_is_not_static():
    assert is_static(Path("/bin/busybox").read_bytes()[:65536])
    assert not is_static(Path(sys.executable).read_bytes()[:65536])


@pytest.mark.parametrize(
    "head",
    [b"", b"\x7fELF", b"#!/bin/sh\n" * 20, b"\x7fELF\x02\x01" + b"\xff" * 200, b"\x7fELF\x01" + bytes(200)],
    ids=["empty", "short", "script", "wild", "32 bits"],
)
def test_what_is_no_program_is_not_static(head):
    assert not is_static(head)


def test_headers_beyond_the_file_are_not_followed():
    head = bytearray(200)
    head[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", head, 32, 1 << 63)
    struct.pack_into("<HH", head, 54, 56, 65535)
    assert not is_static(bytes(head))


def test_only_names_become_links():
    assert applets("ls\n[\n[[\nsh\n../../x\n/bin/x\n-x\n.\n..\nUPPER\n") == ["ls", "[", "[[", "sh"]
