"""The libraries view on live processes: what the rules find beside what is mapped, in the process's own root."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from gotriage.collectors.libraries import LibraryCollector, resolve_file
from gotriage.goruntime.elf import NotElf
from gotriage.host import Host
from gotriage.host.inroot import InRoot
from gotriage.records.libraries import Libraries
from gotriage.records.stream import Gap

from tests.collectors.fakes import real_target
from tests.lab.elfkit import GLIBC, Kit
from tests.lab.toolchain import build

pytestmark = pytest.mark.real

WAIT = 'write(1, "up\\n", 3); pause(); return 0;'


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path)


@contextmanager
def running(*words, **more):
    """A process that has said that it is up."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, **more)
    try:
        assert process.stdout.readline() == b"up\n"
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def look(pid):
    return only(LibraryCollector(Host(), real_target(pid)))


def only(collector):
    records = list(collector.collect())
    assert len(records) == 1, records
    assert isinstance(records[0], Libraries)
    return records[0]


def row(record, name):
    return next(row for row in record.rows if row.name == name)


def test_the_environment_of_the_process_is_used(kit):
    kit.library("env/liba.so")
    program = kit.program("app", ["env/liba.so"], body=WAIT)
    with running(program, env={"LD_LIBRARY_PATH": "env"}, cwd=kit.folder) as pid:
        record = look(pid)
    found = row(record, "liba.so")
    assert (found.rule, found.path, found.loaded) == (
        "LD_LIBRARY_PATH", f"{kit.folder}/env/liba.so", f"{kit.folder}/env/liba.so",
    )  # fmt: skip
    assert (record.executable, record.missing, record.extra_loaded) == (str(program), 0, ())
    assert row(record, "libc.so.6").package in ("libc6", "libc6-amd64")
    assert all(r.loaded for r in record.rows)


def test_a_library_that_was_removed_since_the_start_is_missing_for_the_next_one(kit):
    kit.library("lib/liba.so.1")
    program = kit.program("app", ["lib/liba.so.1"], f"-Wl,-rpath,{kit.folder}/lib", body=WAIT)
    with running(program) as pid:
        collector = LibraryCollector(Host(), real_target(pid))
        assert only(collector).missing == 0
        assert list(collector.collect()) == []
        (kit.folder / "lib/liba.so.1").unlink()
        record = only(collector)
        found = record.rows[0]
        assert (found.name, found.path, found.loaded_deleted) == ("liba.so.1", None, True)
        assert (record.missing, found.install) == (1, "apt-get install liba1  (a guess from the name)")
        kit.library("lib/liba.so.1.2")
        (kit.folder / "lib/liba.so.1").symlink_to("liba.so.1.2")
        found = row(look(pid), "liba.so.1")
        assert (found.path, found.loaded_deleted) == (f"{kit.folder}/lib/liba.so.1", True)


def test_what_was_loaded_later_is_named(kit):
    kit.library("plugin.so")
    body = f'dlopen("{kit.folder}/plugin.so", 1); {WAIT}'
    with running(kit.program("app", [], "-ldl", body=body)) as pid:
        assert look(pid).extra_loaded == (f"{kit.folder}/plugin.so",)


def test_an_executable_that_was_replaced_is_read_as_it_runs(kit):
    kit.library("lib/liba.so")
    program = kit.program("app", ["lib/liba.so"], f"-Wl,-rpath,{kit.folder}/lib", body=WAIT)
    with running(program) as pid:
        program.unlink()
        shutil.copy("/bin/true", program)
        record = look(pid)
        assert record.executable == str(program)
        assert row(record, "liba.so").path


def inside(root, *paths):
    """Copy files of this machine to the same places in a root."""
    for path in paths:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def test_a_root_of_its_own_with_traps(kit, tmp_path):
    """Links to files of the host, FIFOs and magic links where the loader looks: nothing of the host is read.

    There is no /proc in it, so $ORIGIN has no value.
    """
    kit.library("lib/liba.so")
    kit.library("lib/libb.so")
    flags = ("-Wl,-rpath,/trap1:/trap2:/trap4:$ORIGIN/../own:/app/own",)
    program = kit.program("bin/app", ["lib/liba.so", "lib/libb.so"], *flags, body=WAIT)
    root = tmp_path / "root"
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6")
    inside(root, GLIBC, str(libc))
    (root / "app/bin").mkdir(parents=True)
    shutil.copy(program, root / "app/bin/app")
    (root / "app/own").mkdir()
    for name in ("liba.so", "libb.so"):
        shutil.copy(kit.folder / "lib" / name, root / "app/own" / name)
    for i in (1, 2):
        (root / f"trap{i}").mkdir()
    (root / "trap1/liba.so").symlink_to(kit.folder / "lib/liba.so")  # a file of the host: not there in the root
    (root / "trap2/liba.so").symlink_to("/proc/self/root" + str(kit.folder / "lib/liba.so"))
    (root / "trap4").symlink_to("../../../../../../.." + str(kit.folder / "lib"))
    (root / "etc").mkdir()

    def enter():
        os.chroot(root)
        os.chdir("/app")

    with running("/app/bin/app", preexec_fn=enter) as pid:
        # only now: the real loader would wait for a writer
        os.mkfifo(root / "etc/ld.so.preload")
        os.mkfifo(root / "etc/ld.so.cache")
        record = look(pid)
        assert record.executable == "/app/bin/app"
        assert {r.name: r.path for r in record.rows} == {
            "liba.so": "/app/own/liba.so",
            "libb.so": "/app/own/libb.so",
            "libc.so.6": str(libc),
            "ld-linux-x86-64.so.2": GLIBC,
        }
        assert {r.loaded for r in record.rows} == {"/app/own/liba.so", "/app/own/libb.so", str(libc), GLIBC}
        assert record.extra_loaded == ()
        assert all(not r.shadowed and not r.package for r in record.rows)
        assert "no package database" in record.unknown["package"].reason


def test_a_fifo_where_a_library_should_be(kit):
    kit.library("lib/liba.so")
    program = kit.program("app", ["lib/liba.so"], f"-Wl,-rpath,{kit.folder}/lib")
    (kit.folder / "lib/liba.so").unlink()
    os.mkfifo(kit.folder / "lib/liba.so")
    with InRoot("/") as root:
        assert row(resolve_file(root, str(program), {}), "liba.so").error == "not a regular file"


def test_a_unit_that_is_down_is_read_from_its_executable(kit):
    kit.library("lib/libgone.so.1")
    program = kit.program("app", ["lib/libgone.so.1"])
    target = real_target(exec_path=str(program))
    record = only(LibraryCollector(Host(), target))
    assert (record.missing, record.rows[0].name, record.rows[0].loaded) == (1, "libgone.so.1", None)
    target.exec_env = {"LD_LIBRARY_PATH": f"{kit.folder}/lib"}
    assert only(LibraryCollector(Host(), target)).missing == 0


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "not known"), ("/none", "No such file"), ("/usr/bin/ldd", "not an ELF file"), ("/etc", "not a regular file")],
)
def test_what_cannot_be_read_is_a_gap(path, words):
    records = list(LibraryCollector(Host(), real_target(exec_path=path)).collect())
    assert isinstance(records[0], Gap)
    assert words in records[0].reason


def test_a_program_without_its_loader(kit):
    program = kit.program("app", [], "-Wl,--dynamic-linker=/lib64/ld-none.so.2")
    with InRoot("/") as root:
        record = resolve_file(root, str(program), {})
        assert record.interpreter_found is False
        assert (record.rows[0].name, record.rows[0].path) == ("/lib64/ld-none.so.2", None)
        with pytest.raises(NotElf):
            resolve_file(root, "/usr/bin/ldd", {})


def test_a_go_service_with_c_code(tmp_path):
    ready = tmp_path / "ready"
    process = subprocess.Popen([build("cgo"), "-ready-file", ready], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        record = look(process.pid)
    finally:
        process.kill()
        process.wait()
    assert (record.is_go, record.cgo, record.libc, record.linkage, record.note) == (True, True, "glibc", "dynamic", "")
    assert {r.name for r in record.rows} >= {"libc.so.6", "libm.so.6"}
    assert all(r.loaded for r in record.rows)


def test_a_32_bit_and_a_static_program(kit):
    with InRoot("/") as root:
        record = resolve_file(root, str(kit.program("static", [], "-static")), {})
        assert (record.linkage, record.rows, record.interpreter_found) == ("static", (), None)
        assert record.note == "Static executable: no loader runs and no library is needed."
        record = resolve_file(root, str(kit.program("spie", [], "-static-pie")), {})
        assert record.linkage == "static-pie"
