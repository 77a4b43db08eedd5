"""Our resolution of libraries against glibc's own loader, asked about programs that we build for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from gotriage.collectors.libraries import cpu_of
from gotriage.goruntime.elf import Elf, ElfError
from gotriage.goruntime.ldso import Start
from gotriage.host import Host

from tests.lab.elfkit import GLIBC, OLD, Kit, ours, relative, rows_of, traced

pytestmark = pytest.mark.real

CPU = cpu_of(Host())


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path)


def agree(program, env=None, cwd="/"):
    """Both say the same, in the same order; our tree."""
    want = traced(program, env, cwd)
    tree = ours(program, Start(env or {}, cwd, cpu=CPU))
    rows = rows_of(tree)
    if (GLIBC, GLIBC) not in want.rows:  # not listed when nothing needs it by name, as when libc.so.6 is missing
        rows.remove((GLIBC, GLIBC))
    if any(path is None for _, path in rows):  # where the trace puts what is missing is no load order
        assert sorted(map(str, rows)) == sorted(map(str, set(want.rows))), want.text
    else:
        assert rows == want.rows, want.text
    assert sorted(v for node in tree.nodes for v in node.missing_versions) == sorted(want.versions)
    return tree


def node(tree, name):
    return next(node for node in tree.nodes if node.name == name)


def test_an_rpath_of_the_program_serves_its_libraries_too(kit):
    kit.library("lib/libb.so")
    kit.library("lib/liba.so", ["lib/libb.so"])
    tree = agree(kit.program("app", ["lib/liba.so"], OLD, f"-Wl,-rpath,{kit.folder}/lib"))
    assert node(tree, "libb.so").rule == "DT_RPATH"


def test_a_runpath_of_the_program_serves_the_program_alone(kit):
    kit.library("lib/libb.so")
    kit.library("lib/liba.so", ["lib/libb.so"])
    tree = agree(kit.program("app", ["lib/liba.so"], f"-Wl,-rpath,{kit.folder}/lib"))
    assert node(tree, "liba.so").rule == "DT_RUNPATH"
    assert node(tree, "libb.so").path is None


def test_a_library_with_a_runpath_gets_nothing_from_rpaths_above(kit):
    kit.library("lib/libb.so")
    kit.library("lib/liba.so", ["lib/libb.so"], "-Wl,-rpath,/nowhere")
    tree = agree(kit.program("app", ["lib/liba.so"], OLD, f"-Wl,-rpath,{kit.folder}/lib"))
    assert node(tree, "libb.so").path is None


def test_rpaths_are_searched_up_the_chain_of_loaders(kit):
    kit.library("deep/libc1.so")
    kit.library("deep/libb.so", ["deep/libc1.so"])
    kit.library("lib/liba.so", ["deep/libb.so"], OLD, f"-Wl,-rpath,{kit.folder}/deep")
    tree = agree(kit.program("app", ["lib/liba.so"], OLD, f"-Wl,-rpath,{kit.folder}/lib"))
    assert node(tree, "libc1.so").depth == 3


@pytest.mark.parametrize("old", [True, False], ids=["DT_RPATH", "DT_RUNPATH"])
def test_the_environment_stands_between_rpath_and_runpath(kit, old):
    kit.library("own/liba.so")
    kit.library("env/liba.so")
    program = kit.program("app", ["own/liba.so"], *([OLD] if old else []), f"-Wl,-rpath,{kit.folder}/own")
    tree = agree(program, {"LD_LIBRARY_PATH": f"/nowhere;{kit.folder}/env/"})
    row = node(tree, "liba.so")
    assert row.rule == ("DT_RPATH" if old else "LD_LIBRARY_PATH")
    assert row.shadowed == (f"{kit.folder}/{'env' if old else 'own'}/liba.so",)


def test_tokens_in_search_lists(kit):
    kit.library("x/lib/liba.so")
    kit.library("x/lib/x86_64-linux-gnu/libb.so")
    kit.library("x/haswell/libp.so")
    kit.library("x/x86_64/libp.so")
    lists = "$ORIGIN/../lib:${ORIGIN}/../$LIB:$ORIGIN/../${PLATFORM}:$ORIGINAL"
    needs = ["x/lib/liba.so", "x/lib/x86_64-linux-gnu/libb.so", "x/x86_64/libp.so"]
    agree(kit.program("x/bin/app", needs, f"-Wl,-rpath,{lists}"))


def test_the_origin_of_a_program_is_where_links_lead_but_not_that_of_a_library(kit):
    kit.library("real/libb.so")
    kit.library("real/liba.so", ["real/libb.so"], "-Wl,-rpath,$ORIGIN/../other")
    kit.library("other/libb.so")
    (kit.folder / "links").mkdir()
    (kit.folder / "links/liba.so").symlink_to("../real/liba.so")
    program = kit.program("bin/app", ["real/liba.so"], "-Wl,-rpath,$ORIGIN/../links")
    (kit.folder / "start").symlink_to("bin/app")
    agree(kit.folder / "start")
    assert node(agree(program), "libb.so").path == f"{kit.folder}/bin/../links/../other/libb.so"


@pytest.mark.parametrize(
    "folders",
    [
        ["glibc-hwcaps/x86-64-v2", "glibc-hwcaps/x86-64-v3", "glibc-hwcaps/x86-64-v4"],
        ["glibc-hwcaps/x86-64-v2", "haswell"],
        ["tls/x86_64", "haswell/x86_64", "x86_64"],
        ["tls", "avx512_1", "x86_64"],
        ["glibc-hwcaps/x86-64-v9", "power10"],
    ],
)
def test_subdirectories_for_this_processor(kit, folders):
    kit.library("lib/liba.so")
    for folder in folders:
        kit.library(f"lib/{folder}/liba.so")
    agree(kit.program("app", ["lib/liba.so"], f"-Wl,-rpath,{kit.folder}/lib"))


def test_preloads_come_first_and_a_bad_one_is_only_warned_of(kit):
    kit.library("lib/libp.so", ["lib/libq.so"] if kit.library("lib/libq.so") else [])
    program = kit.program("app")
    env = {"LD_PRELOAD": f"{kit.folder}/lib/libp.so libnot-there.so:libq.so", "LD_LIBRARY_PATH": f"{kit.folder}/lib"}
    tree = agree(program, env)
    assert [n.rule for n in tree.nodes[:3]] == ["preload", "", "preload"]
    assert "ignored" in node(tree, "libnot-there.so").error


def test_a_name_with_a_slash_is_a_path(kit):
    kit.library("liba.so", soname=None)
    program = kit.folder / "app"
    (kit.folder / "main.c").write_text("int main(void) { return 0; }")
    line = ["gcc", "-o", program, "main.c", "-Wl,--no-as-needed", "./liba.so"]
    subprocess.run(line, cwd=kit.folder, check=True)
    tree = ours(program, Start({}, str(kit.folder), cpu=CPU))
    want = traced(program, cwd=str(kit.folder))
    assert [relative(path, str(kit.folder)) for _, path in want.rows] == [path for _, path in rows_of(tree)]
    assert node(tree, "./liba.so").rule == "path"
    assert node(agree(program, cwd="/"), "./liba.so").path is None


def test_empty_and_relative_elements_mean_the_working_directory(kit):
    kit.library("lib/liba.so")
    program = kit.program("app", ["lib/liba.so"])
    for value in (":/nowhere", "/nowhere::", ".", "../lib/"):
        env, cwd = {"LD_LIBRARY_PATH": value}, str(kit.folder / "lib")
        want = traced(program, env, cwd)
        got = rows_of(ours(program, Start(env, cwd, cpu=CPU)))
        assert [relative(p, cwd) for _, p in want.rows] == [relative(p, cwd) for _, p in got]


def test_missing_libraries_do_not_end_the_tree(kit):
    kit.library("lib/libgone.so")
    kit.library("lib/libb.so")
    kit.library("lib/liba.so", ["lib/libgone.so", "lib/libb.so"])
    program = kit.program("app", ["lib/liba.so", "lib/libgone.so"], OLD, f"-Wl,-rpath,{kit.folder}/lib")
    (kit.folder / "lib/libgone.so").unlink()
    assert node(agree(program), "libgone.so").path is None


def test_a_library_missing_for_one_may_be_found_for_another(kit):
    kit.library("b/libz1.so")
    kit.library("lib/liba.so", ["b/libz1.so"])
    kit.library("lib/libb.so", ["b/libz1.so"], "-Wl,-rpath,$ORIGIN/../b")
    tree = agree(kit.program("app", ["lib/liba.so", "lib/libb.so"], f"-Wl,-rpath,{kit.folder}/lib"))
    assert [(n.path is None, n.parent.name) for n in tree.nodes if n.name == "libz1.so"] == [
        (True, "liba.so"),
        (False, "libb.so"),
    ]


@pytest.mark.parametrize(("offset", "value"), [(18, b"\xb7\0"), (4, b"\1")], ids=["machine", "class"])
def test_a_library_of_another_machine_is_passed_over(kit, offset, value):
    kit.library("wrong/liba.so")
    kit.library("right/liba.so")
    rpath = f"-Wl,-rpath,{kit.folder}/wrong:{kit.folder}/right"
    program = kit.program("app", ["right/liba.so"], rpath)
    with (kit.folder / "wrong/liba.so").open("r+b") as file:
        file.seek(offset)
        file.write(value)
    tree = agree(program)
    assert node(tree, "liba.so").path == f"{kit.folder}/right/liba.so"


@pytest.mark.parametrize("content", [b"", b"short", b"GROUP ( libx.so )" * 20])
def test_a_file_that_is_no_library_stops_the_loader_and_is_named(kit, content):
    kit.library("lib/liba.so")
    program = kit.program("app", ["lib/liba.so"], f"-Wl,-rpath,{kit.folder}/lib")
    (kit.folder / "lib/liba.so").write_bytes(content)
    row = node(ours(program, Start(cpu=CPU)), "liba.so")
    assert row.error in ("file too short", "invalid ELF header")
    assert row.error in traced(program).text


def test_a_link_to_itself_ends_the_list_it_stands_in(kit):
    for folder in ("loop", "lib", "env"):
        kit.library(f"{folder}/liba.so")
    program = kit.program("app", ["lib/liba.so"], f"-Wl,-rpath,{kit.folder}/loop:{kit.folder}/lib")
    (kit.folder / "loop/liba.so").unlink()
    (kit.folder / "loop/liba.so").symlink_to("liba.so")
    assert node(agree(program), "liba.so").path is None
    assert node(agree(program, {"LD_LIBRARY_PATH": f"{kit.folder}/env"}), "liba.so").path
    (kit.folder / "loop/liba.so").unlink()
    (kit.folder / "loop/liba.so").symlink_to("none.so")
    assert node(agree(program), "liba.so").path == f"{kit.folder}/lib/liba.so"


def test_one_file_under_two_names_is_loaded_once(kit):
    kit.library("lib/liba.so")
    kit.library("lib/libb.so")
    program = kit.program("app", ["lib/liba.so", "lib/libb.so"], f"-Wl,-rpath,{kit.folder}/lib")
    (kit.folder / "lib/libb.so").unlink()
    (kit.folder / "lib/libb.so").symlink_to("liba.so")
    assert len(agree(program).nodes) == 3


def test_a_soname_answers_for_a_name_of_another_file(kit):
    kit.library("lib/libb.so")
    kit.library("lib/liba.so")
    program = kit.program("app", ["lib/liba.so", "lib/libb.so"], f"-Wl,-rpath,{kit.folder}/lib")
    kit.library("lib/liba.so", soname="libb.so")
    assert not [n for n in agree(program).nodes if n.name == "libb.so"]


def test_versions_that_a_library_no_longer_defines(kit):
    kit.library("lib/libv.so.1", versions="V1 V2")
    call = "return v1_f() + v2_f();"
    program = kit.program("app", ["lib/libv.so.1"], f"-Wl,-rpath,{kit.folder}/lib", body=call)
    agree(program)
    kit.library("lib/libv.so.1", versions="V1")
    tree = agree(program)
    assert node(tree, "libv.so.1").missing_versions == [f"V2 asked by {program}"]


def test_a_library_without_any_versions_is_only_warned_of(kit):
    kit.library("lib/libv.so.1", versions="V1")
    program = kit.program("app", ["lib/libv.so.1"], f"-Wl,-rpath,{kit.folder}/lib", body="return v1_f();")
    kit.library("lib/libv.so.1")
    assert not node(agree(program), "libv.so.1").missing_versions


def test_weak_versions_may_be_absent(kit):
    kit.library("lib/libv.so.1", versions="V1 V2")
    program = kit.program("app", ["lib/libv.so.1"], f"-Wl,-rpath,{kit.folder}/lib", body="return v1_f() + v2_f();")
    _make_versions_weak(program, "V2")
    kit.library("lib/libv.so.1", versions="V1")
    row = node(ours(program, Start(cpu=CPU)), "libv.so.1")
    assert not row.missing_versions
    assert row.weak == [f"V2 asked by {program}"]
    assert "weak version `V2' not found" in traced(program).text


def _make_versions_weak(program: Path, name: str) -> None:
    """Set VER_FLG_WEAK in the need of that version (an Elf64_Vernaux: hash, flags, other, name, next)."""
    with Elf(program) as elf:
        section = elf.section(".gnu.version_r")
        table = elf.at(section.offset, section.size)
        for at in range(0, section.size - 15, 16):
            index = int.from_bytes(table[at + 8 : at + 12], "little")
            try:
                found = elf.dynamic_string(index) == name
            except ElfError:
                continue
            if found:
                break
    data = bytearray(program.read_bytes())
    data[section.offset + at + 4] |= 2
    program.write_bytes(data)


def test_no_default_folders_when_the_program_says_so(kit):
    program = kit.program("app", [], "-Wl,-z,nodefaultlib")
    assert node(agree(program), "libc.so.6").path is None


def test_secure_execution_ignores_the_environment(kit):
    """A set-group-ID program: its own maps say what was loaded, for no trace is given in that mode."""
    kit.library("env/liba.so")
    kit.library("own/liba.so")
    show = 'char b[4096]; int f=open("/proc/self/maps",0),n; while((n=read(f,b,4096))>0) write(1,b,n); return 0;'
    program = kit.program("app", ["own/liba.so"], f"-Wl,-rpath,{kit.folder}/own", body=show)
    os.chown(program, 0, 1)
    program.chmod(0o2755)
    env = {"LD_LIBRARY_PATH": f"{kit.folder}/env", "LD_PRELOAD": f"{kit.folder}/env/liba.so"}
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=True)
    tree = ours(program, Start(env, "/", secure=True, cpu=CPU))
    row = node(tree, "liba.so")
    assert row.path == f"{kit.folder}/own/liba.so"
    assert row.path in done.stdout
    assert "/env/" not in done.stdout


def test_programs_of_this_machine():
    """Every third dynamic program of /usr/bin: the same files in the same order as the loader."""
    checked = 0
    for path in sorted(Path("/usr/bin").iterdir())[::3]:
        real = path.resolve()
        try:
            with Elf(real) as elf:
                if elf.interpreter != GLIBC or real.stat().st_mode & 0o6000:
                    continue
        except (ElfError, OSError):
            continue
        agree(real)
        checked += 1
        if checked == 100:
            return
    assert checked > 20
