"""Finding the Go program of a process, in every place where one can be, and naming why there is none."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gotriage.errors import GotriageError, NotPermitted, TargetGone
from gotriage.goruntime import image
from gotriage.goruntime.elf import Elf
from gotriage.goruntime.evidence import version_of
from gotriage.goruntime.live import LiveMemory
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.refusals import DamagedTables, NotGo, UnsupportedGo

from tests.goruntime.filememory import FileMemory
from tests.goruntime.test_symbols import ask, differences, running, without_sections
from tests.lab.process import wait_until
from tests.lab.toolchain import NEWEST, QUICK, build, environment, toolchain

DEBIAN = ("prometheus", "etcd", "caddy", "nats-server", "containerd")


def checked(memory, process=None):
    """The image, after a few questions to it; with a process of the service `symbols`, its runtime's answers too."""
    found = image.find(memory)
    functions = found.functions
    pcs = [functions.entry(i) + 1 for i in range(0, functions.count, 5) if functions.end(i) - functions.entry(i) > 1]
    assert functions.name(functions.by_name("runtime.main")) == "runtime.main"
    if process is not None:
        assert not differences(functions, pcs, ask(process, pcs))
    assert sum(bool(functions.frames(pc)) for pc in pcs) > len(pcs) / 2
    return found


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go1.27.3", (1, 27)), ("go1.18", (1, 18)), ("go1.21rc2", (1, 21)), ("devel go1.28-0a1b2c3 Mon Jan 1", (1, 28)),
        ("go1.24.1 X:nocoverageredesign", (1, 24)), ("unknown", None), ("", None), ("go1.1234", None),
    ],
)  # fmt: skip
def test_versions(text, version):
    assert version_of(text) == version


@pytest.mark.real
@pytest.mark.parametrize("version", QUICK)
def test_a_deleted_program(version, tmp_path):
    copy = tmp_path / "symbols"
    shutil.copy(build("symbols", version), copy)
    with running(copy) as process:
        copy.unlink()
        copy.write_bytes(b"another program")
        memory = LiveMemory(process.pid)
        found = checked(memory, process)
        assert found.go_version == f"go{version}"
        assert found.path.startswith(str(copy))
        found.close()
        memory.close()


class WithoutFile(LiveMemory):
    """As a core file for which no program was given."""

    def executable(self):
        raise FileNotFoundError(2, "No such file")

    def file_of(self, region):
        raise Unreadable("no file")


@pytest.mark.real
@pytest.mark.parametrize("flags", [("-ldflags=-s -w",), ("-buildmode=pie",)])
@pytest.mark.parametrize("version", QUICK)
def test_from_memory_alone(version, flags):
    with running(build("symbols", version, flags=flags)) as process:
        memory = WithoutFile(process.pid)
        found = checked(memory, process)
        assert found.go_version == f"go{version}"
        assert found.stripped  # as far as memory shows
        found.close()
        memory.close()


@pytest.mark.real
@pytest.mark.parametrize("with_file", [True, False])
def test_another_machine(with_file):
    binary = build("symbols", NEWEST, env={"GOARCH": "arm64"})
    found = checked(FileMemory(binary, arch="arm64", with_file=with_file))
    assert found.arch == "arm64"
    found.close()


@pytest.mark.real
def test_module_addresses_are_those_of_the_symbol_table():
    from elftools.elf.elffile import ELFFile

    binary = build("symbols", NEWEST)
    with binary.open("rb") as file:
        names = {s.name: s["st_value"] for s in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}
    found = image.find(FileMemory(binary))
    module = found.modules[0]
    assert module.address == names["runtime.firstmoduledata"]
    for field in ("pclntab", "text", "etext", "noptrdata", "enoptrdata", "data", "edata", "bss", "ebss", "noptrbss"):
        assert getattr(module, field) == names[f"runtime.{field}"], field
    assert module.gofunc == names["go:func.*"]
    assert module.bias == 0
    assert found.build_id
    found.close()


@pytest.mark.real
@pytest.mark.parametrize("sections", [True, False])
@pytest.mark.parametrize("version", QUICK)
def test_a_go_library_in_a_program_of_another_language(version, sections, tmp_path):
    library = build("symbols", version, cgo=True, flags=["-buildmode=c-shared"])
    if not sections:
        library = without_sections(library, tmp_path)
    script = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    with running(sys.executable, "-c", script, library) as process:
        memory = LiveMemory(process.pid)
        found = checked(memory)
        assert (found.go_version, found.path, len(found.modules)) == (f"go{version}", str(library), 1)
        assert found.build is not None
        found.close()
        memory.close()


@pytest.mark.real
def test_two_go_libraries(tmp_path):
    first = build("symbols", NEWEST, cgo=True, flags=["-buildmode=c-shared"])
    second = tmp_path / "second.so"
    shutil.copy(first, second)
    script = "import ctypes, sys; [ctypes.CDLL(a) for a in sys.argv[1:]]; print('ready', flush=True); sys.stdin.read()"
    with running(sys.executable, "-c", script, first, second) as process:
        memory = LiveMemory(process.pid)
        found = checked(memory)
        assert {found.path, *found.others} == {str(first), str(second)}
        assert len(found.modules) == 1
        found.close()
        memory.close()


@pytest.mark.real
@pytest.mark.parametrize("version", QUICK)
def test_a_plugin(version):
    plugin = build("plugin", version, cgo=True, flags=["-buildmode=plugin"])
    with running(build("pluginhost", version, cgo=True), plugin) as process:
        memory = LiveMemory(process.pid)
        found = checked(memory)
        assert [module.path for module in found.modules] == [found.path, str(plugin)]
        functions = found.functions
        names = [functions.name(i) for i in range(functions.tables[0].count, functions.count)]
        wait = functions.tables[0].count + next(
            i for i, name in enumerate(names) if re.fullmatch(r".*plugin.*\.wait", name)
        )
        assert functions.find(functions.entry(wait)) == wait
        assert functions.frames(functions.entry(wait) + 20)[-1].file.endswith("main.go")
        assert functions.by_name("runtime.gopark") < found.functions.tables[0].count
        found.close()
        memory.close()


@pytest.mark.real
@pytest.mark.parametrize("name", DEBIAN)
def test_services_of_the_distribution(name):
    """Go 1.19, stripped: function, file and line are what Go's own addr2line makes of them."""
    path = shutil.which(name, path="/usr/bin:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    found = checked(FileMemory(Path(path)))
    functions = found.functions
    assert found.go_version.startswith("go1.19")
    assert found.stripped
    assert not found.garbled
    rng = random.Random(name)
    pcs = [rng.randrange(functions.entry(i), functions.end(i)) for i in range(0, functions.count - 1, 23)]
    command = [toolchain(QUICK[0]), "tool", "addr2line", path]
    with Elf(path) as elf:  # addr2line takes the section for the beginning of Go's code; C code may stand before it
        shift = elf.section(".text").addr - found.modules[0].text
    asked = "".join(f"{pc + shift:#x}\n" for pc in pcs)
    out = subprocess.run(command, env=environment(QUICK[0]), input=asked, capture_output=True, text=True, check=True)
    said = out.stdout.splitlines()
    sites = [functions.site(pc, exact=True) for pc in pcs]
    ours = [(site.function, f"{site.file}:{site.line}" if site.line else ":-1") for site in sites]
    assert [
        pair for pair in zip(ours, zip(said[::2], said[1::2], strict=True), strict=True) if pair[0] != pair[1]
    ] == []
    found.close()


@pytest.mark.real
def test_a_pie_service_of_the_distribution():
    """Its table has no section, and its pointers are filled in by the loader: it waits here for its configuration."""
    path = shutil.which("dockerd", path="/usr/bin:/usr/sbin")
    if path is None:
        pytest.skip("dockerd is not installed")
    command = [path, "--config-file=/dev/stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            found = eventually(process.pid)
            assert found.go_version.startswith("go1.19")
            assert (found.stripped, found.garbled, found.modules[0].bias > 0) == (True, False, True)
            main = found.functions.entry(found.functions.by_name("main.main"))
            assert found.functions.frames(main + 1)[-1].function == "main.main"
            found.close()
        finally:
            process.kill()


def eventually(pid):
    """The image of a process that has just been started, once its loader is done."""

    def found():
        memory = LiveMemory(pid)
        try:
            return checked(memory)
        except GotriageError:
            return None
        finally:
            memory.close()

    images = []
    wait_until(lambda: images.append(found()) or images[-1])
    return images[-1]


# Why there is none


def refused(memory, kind, *words):
    with pytest.raises(kind) as caught:
        image.find(memory)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_not_go():
    with running("/bin/sh", "-c", "echo ready; read line") as process:
        memory = LiveMemory(process.pid)
        refused(memory, NotGo, "sh is not a Go program")
        memory.close()


def test_ourselves():
    memory = LiveMemory(os.getpid())
    refused(memory, NotGo, "is not a Go program")
    memory.close()


SLOW = pytest.mark.slow
"""Each builds the standard library for another machine."""


@pytest.mark.real
@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ("386", ("32-bit", "i386")),
        pytest.param("arm", ("32-bit",), marks=SLOW),
        pytest.param("s390x", ("big-endian",), marks=SLOW),
        pytest.param("riscv64", ("riscv64",), marks=SLOW),
    ],
)
def test_other_machines(machine, words):
    binary = build("healthy", NEWEST, env={"GOARCH": machine})
    refused(FileMemory(binary, arch=machine), UnsupportedGo, "Go program", *words)


@pytest.mark.real
def test_too_old(tmp_path):
    data = build("symbols", NEWEST).read_bytes()
    old = tmp_path / "old"
    old.write_bytes(data.replace(b"go1.27.3", b"go1.17.3"))
    refused(FileMemory(old), UnsupportedGo, "go1.17.3", "from Go 1.18 on")
    # Go 1.12 and older have no build info: the table itself tells
    magic = b"\xf1\xff\xff\xff\0\0\x01\x08"
    assert data.count(magic) == 1
    old.write_bytes(data.replace(magic, b"\xfb\xff\xff\xff\0\0\x01\x08").replace(b"\xff Go buildinf:", bytes(14)))
    refused(FileMemory(old), UnsupportedGo, "Go 1.15 or older")


@pytest.mark.real
@pytest.mark.parametrize("version", QUICK)
def test_obfuscated(version, tmp_path):
    """As obfuscators do: another magic, so that tools do not find the table."""
    path = tmp_path / "obfuscated"
    data = build("symbols", version).read_bytes()
    path.write_bytes(data.replace(b"\xf1\xff\xff\xff\0\0\x01\x08", b"\x12\x34\x56\x78\0\0\x01\x08"))
    found = checked(FileMemory(path))
    assert found.garbled
    found.close()


@pytest.mark.real
def test_without_any_table(tmp_path):
    path = tmp_path / "damaged"
    data = build("symbols", NEWEST).read_bytes()
    path.write_bytes(data.replace(b"\xf1\xff\xff\xff\0\0\x01\x08", bytes(8)))
    refused(FileMemory(path), DamagedTables, "go1.27.3")


@pytest.mark.real
def test_packed(tmp_path):
    """UPX keeps the headers and puts its mark behind them; the section headers are gone."""
    path = without_sections(build("symbols", NEWEST), tmp_path)
    data = bytearray(path.read_bytes())
    data[0x1E0:0x1E4] = b"UPX!"
    path.write_bytes(data)
    refused(FileMemory(path), UnsupportedGo, "UPX")

    class Unpacked(FileMemory):
        def regions(self):
            return tuple(
                region._replace(path="/memfd:upx (deleted)", offset=0, inode=1) for region in super().regions()
            )

        def read(self, address, size):
            return bytes(size)

    refused(Unpacked(path), UnsupportedGo, "UPX")


def compiled(folder, *arguments, source="int main(void) { return 0; }"):
    path = folder / "program"
    subprocess.run(["gcc", "-o", path, "-x", "c", "-", "-x", "none", *arguments], input=source, text=True, check=True)
    return path


@pytest.mark.real
def test_other_go_compilers(tmp_path):
    runtime = tmp_path / "libgo.so.21"
    subprocess.run(
        ["gcc", "-shared", "-Wl,-soname,libgo.so.21", "-x", "c", "-", "-o", runtime],
        input="int go;",
        text=True,
        check=True,
    )
    path = compiled(tmp_path, "-Wl,--no-as-needed", str(runtime), "-no-pie")
    refused(FileMemory(path), NotGo, "gccgo")
    tiny = "void tinygo_scanCurrentStack(void) {} int main(void) { return 0; }"
    refused(FileMemory(compiled(tmp_path, "-no-pie", source=tiny)), NotGo, "TinyGo")


def test_no_program_at_all(tmp_path):
    path = compiled(tmp_path, "-no-pie")

    class Kernel(FileMemory):
        def regions(self):
            return ()

    refused(Kernel(path), NotGo, "kernel thread")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(13, "Permission denied"), NotPermitted),
        (ProcessLookupError(3, "No such process"), TargetGone),
        (OSError(5, "Input/output error"), GotriageError),
    ],
)
def test_a_file_that_cannot_be_opened(tmp_path, error, kind):
    class Closed(FileMemory):
        def executable(self):
            raise error

    refused(Closed(compiled(tmp_path, "-no-pie")), kind)


def test_a_program_that_is_no_elf_file(tmp_path):
    path = compiled(tmp_path, "-no-pie")

    class Script(FileMemory):
        def executable(self):
            text = tmp_path / "text"
            text.write_text("#!/bin/sh\n")
            return os.open(text, os.O_RDONLY)

    refused(Script(path), NotGo, "no ELF file")


def test_no_descriptor_is_left_open():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        memory = LiveMemory(os.getpid())
        with pytest.raises(NotGo):
            image.find(memory)
        memory.close()
    assert len(os.listdir("/proc/self/fd")) == before
