"""Our resolution of libraries against musl's own loader (`--list`), asked about programs built with musl-gcc."""

from __future__ import annotations

import re
import subprocess

import pytest
from gotriage.goruntime.ldso import Start

from tests.lab.elfkit import OLD, Kit, ours

pytestmark = pytest.mark.real

LOADER = "/lib/ld-musl-x86_64.so.1"


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path, "musl-gcc")


def agree(program, env=None):
    """Both name the same files for the same names, and the same missing ones."""
    done = subprocess.run([LOADER, "--list", program], env=env or {}, capture_output=True, text=True, check=False)
    found = {m[1]: m[2] for m in re.finditer(r"^\t(\S+) => (\S+) \(0x", done.stdout, re.M)}
    missing = set(re.findall(r"Error loading shared library (\S+):", done.stderr))
    tree = ours(program, Start(env or {}))
    assert tree.libc == "musl"
    assert {n.name for n in tree.nodes if n.path is None} == missing, done.stderr
    assert {n.name: n.path for n in tree.nodes if n.path and n.rule != "interpreter"} == {
        name: path for name, path in found.items() if path != LOADER
    }, done.stdout
    return tree


def rule(tree, name):
    return next(node.rule for node in tree.nodes if node.name == name)


def test_the_c_library_is_the_loader_itself(kit):
    tree = agree(kit.program("app"))
    assert [(n.name, n.path, n.rule) for n in tree.nodes] == [("libc.so", LOADER, "interpreter")]
    assert re.fullmatch(r"1\.\d+\.\d+", tree.libc_version)


def test_the_environment_is_asked_before_any_rpath(kit):
    kit.library("own/liba.so")
    kit.library("env/liba.so")
    program = kit.program("app", ["own/liba.so"], OLD, f"-Wl,-rpath,{kit.folder}/own")
    assert rule(agree(program), "liba.so") == "DT_RPATH"
    assert rule(agree(program, {"LD_LIBRARY_PATH": f"/nowhere:{kit.folder}/env"}), "liba.so") == "LD_LIBRARY_PATH"


def test_a_runpath_is_inherited(kit):
    kit.library("lib/libb.so")
    kit.library("lib/liba.so", ["lib/libb.so"])
    tree = agree(kit.program("bin/app", ["lib/liba.so"], "-Wl,-rpath,$ORIGIN/../lib"))
    assert rule(tree, "libb.so") == "DT_RUNPATH"


def test_the_system_path_file(kit):
    """Debian's musl has /etc/ld-musl-x86_64.path."""
    kit.library("lib/libgone.so")
    program = kit.program("app", ["lib/libgone.so"])
    assert next(n for n in agree(program).nodes if n.name == "libgone.so").path is None


def test_libraries_of_a_library_that_is_preloaded(kit):
    kit.library("lib/libq.so")
    kit.library("lib/libp.so", ["lib/libq.so"])
    program = kit.program("app")
    env = {"LD_PRELOAD": f"{kit.folder}/lib/libp.so", "LD_LIBRARY_PATH": f"{kit.folder}/lib"}
    done = subprocess.run([LOADER, "--list", program], env=env, capture_output=True, text=True, check=True)
    tree = ours(program, Start(env))
    assert [n.path for n in tree.nodes if n.rule != "interpreter"] == [
        f"{kit.folder}/lib/libp.so",
        f"{kit.folder}/lib/libq.so",
    ]
    assert all(str(n.path) in done.stdout for n in tree.nodes)
