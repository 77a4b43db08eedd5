"""Our reading of modes, ACLs and capabilities agrees with the kernel's."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess

import pytest
from gotriage.host.inroot import InRoot
from gotriage.host.permissions import Identity, allowed, identity_of, parse_acl, refusal
from gotriage.host.proc import Proc

from tests.lab.folders import let_enter

NOBODY = Identity(65534, 65534, frozenset({4}), frozenset())
WORDS = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}


def kernels_answer(path, who, needs):
    """access(2) in a child that has become `who`."""
    pid = os.fork()
    if pid == 0:
        os.setgroups(sorted(who.groups))
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
        mode = 0
        for letter in needs:
            mode |= WORDS[letter]
        os._exit(0 if os.access(path, mode) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def ours(path, who, needs):
    with InRoot("/") as root:
        return refusal(root, str(path), needs, who) is None


@pytest.fixture
def place(tmp_path):
    """A file in a folder that everybody may search."""
    let_enter(tmp_path)
    file = tmp_path / "file"
    file.write_text("x")
    return file


MODES = [0o000, 0o400, 0o444, 0o644, 0o640, 0o604, 0o060, 0o006, 0o077, 0o700, 0o755, 0o222]
OWNERS = [(0, 0), (65534, 0), (0, 65534), (0, 4)]


@pytest.mark.parametrize("mode", MODES, ids=oct)
def test_modes_agree_with_the_kernel(place, mode):
    for (uid, gid), needs in itertools.product(OWNERS, ("r", "w", "x", "rw")):
        os.chown(place, uid, gid)
        place.chmod(mode)
        assert ours(place, NOBODY, needs) == kernels_answer(place, NOBODY, needs), (oct(mode), uid, gid, needs)


ACLS = ["u:65534:r", "u:65534:-", "g:4:rw", "g:65534:r,g:4:w", "u:65534:rwx,m::r", "g::r,m::-", "o::rwx"]


@pytest.mark.parametrize("text", ACLS)
def test_acls_agree_with_the_kernel(place, text):
    for mode in (0o600, 0o644, 0o066):
        place.chmod(mode)
        subprocess.run(["setfacl", "-b", "-m", text, str(place)], check=True)
        for needs in ("r", "w", "x", "rw"):
            assert ours(place, NOBODY, needs) == kernels_answer(place, NOBODY, needs), (text, oct(mode), needs)


def test_a_parent_that_refuses_search_is_named(place, tmp_path):
    tmp_path.chmod(0o700)
    with InRoot("/") as root:
        found = refusal(root, str(place), "r", NOBODY)
    assert (found.path, found.refused, found.facts.st_uid, found.mode) == (str(tmp_path), "x", 0, "drwx------")


def test_capabilities_override(place):
    place.chmod(0o000)
    facts = place.stat()
    reader = Identity(1, 1, frozenset(), frozenset({"CAP_DAC_READ_SEARCH"}))
    root = Identity(1, 1, frozenset(), frozenset({"CAP_DAC_OVERRIDE"}))
    assert allowed(facts, [], reader, 4)
    assert not allowed(facts, [], reader, 2)
    assert allowed(facts, [], root, 6)
    assert not allowed(facts, [], root, 1)


@pytest.mark.parametrize(
    "data", [b"", b"x", struct.pack("<I", 9) + bytes(8), struct.pack("<I", 2) + bytes(7), bytes(range(1, 65))]
)
def test_a_strange_acl_is_none(data):
    assert parse_acl(data) == []


def test_the_identity_of_this_process():
    who = identity_of(Proc().status(os.getpid()))
    assert (who.uid, who.gid) == (os.geteuid(), os.getegid())
    assert "CAP_DAC_OVERRIDE" in who.capabilities
