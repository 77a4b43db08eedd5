"""The layout tables: what they say, how a version finds its own, and that the toolchains still say the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import msgspec
import pytest
from gotriage.goruntime import layout
from gotriage.goruntime.layout import Array, File, UnknownVersion, load, parse

from tests.lab import layouts, toolchain
from tests.lab.golayout import files, source

MINORS = ("1.18", "1.19", "1.20", "1.21", "1.22", "1.23", "1.24", "1.25", "1.26", "1.27")
MEASURED = ("1.19.8", "1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3")
"""The releases that `KNOWN` is of."""
LAST = dict(zip((version.rpartition(".")[0] for version in MEASURED), MEASURED, strict=True))
LAST |= {"1.18": "1.18.10", "1.20": "1.20.14"}


def last(minor: str, arch: str = "amd64") -> layout.Layout:
    return load(f"go{LAST[minor]}", arch)[0]


@pytest.mark.parametrize(
    ("text", "minor", "patch", "pre"),
    [
        ("go1.24.3", 24, 3, False),
        ("go1.19.8", 19, 8, False),
        ("go1.20", 20, 0, False),
        ("go1.23rc1", 23, 0, True),
        ("go1.21.0", 21, 0, False),
        ("go1.25.5 X:nodwarf5", 25, 5, False),
        ("go1.25.5 X:boringcrypto", 25, 5, False),
        ("go1.25.5 X:boringcrypto,greenteagc", 25, 5, True),
        ("go1.25.5 X:foo", 25, 5, True),
        ("go1.22.5 (Vendor 1.22.5-1.el9)", 22, 5, False),
        ("go1.24.3-vendor1", 24, 3, False),
        (" go1.27.3\n", 27, 3, False),
    ],
)
def test_a_version_as_programs_state_it(text, minor, patch, pre):
    assert parse(text) == (minor, patch, pre)


NO_VERSIONS = """
go  devel go1.28-abc  devel +a1b2c3 Mon Jan 1  go1.28-devel_abc  go2.0.1  1.24.3  gccgo  go1.2x go1.2.x go1.24.3.4
"""


@pytest.mark.parametrize("text", ["", "\0" * 9, "go1." + "9" * 100_000, *NO_VERSIONS.strip().split("  ")])
def test_no_version_is_refused(text):
    with pytest.raises(UnknownVersion):
        parse(text)


@pytest.mark.parametrize("text", ["go1.28.0", "go1.17.13", "go1.4", "devel go1.27-abc"])
def test_a_version_without_a_table(text):
    with pytest.raises(UnknownVersion, match=r"table"):
        load(text, "amd64")
    with pytest.raises(UnknownVersion, match=r"those of 1\.18 to 1\.27$"):
        load("go1.9999", "amd64")


def test_an_architecture_without_a_table():
    with pytest.raises(UnknownVersion, match="riscv64"):
        load("go1.27.3", "riscv64")


def test_every_minor_version_is_there():
    assert layout.known() == MINORS


def test_a_release_finds_its_table():
    assert load("go1.27.3", "amd64")[1] == "table"
    assert load("go1.27.99", "amd64")[1] == "near"
    assert load("go1.27rc1", "amd64")[1] == "near"
    assert load("go1.27.3 X:somethingnew", "amd64")[1] == "near"
    assert load("go1.27.3", "arm64")[1] == "table"
    assert load("go1.20.4", "amd64")[1] == "table"  # its source declares what that of 1.20.14 does


def test_patch_releases_that_differ():
    """A slice came into m in front of alllink in 1.23.12 and between 1.24.5 and 1.24.11; a wait reason in 1.23.4."""
    for early, late in (("1.24.3", "1.24.11"), ("1.23.11", "1.23.12")):
        old, new = load(f"go{early}", "amd64")[0], load(f"go{late}", "amd64")[0]
        assert old.offset("m", "alllink") == 328
        assert new.offset("m", "alllink") == 352
        assert old.structs["g"] == new.structs["g"]
        assert old.signatures.keys() == new.signatures.keys()
        assert new.structs["m"].size - old.structs["m"].size in (0, 16, 24, 32)
    old, new = load("go1.23.3", "amd64")[0], load("go1.23.4", "amd64")[0]
    assert set(new.wait_reasons) - set(old.wait_reasons) == {"GC weak to strong wait"}
    assert len(new.wait_reasons) == len(old.wait_reasons) + 1 == 38
    bits = [load(f"go1.25.{patch}", "amd64")[0].constants["addrBits"] for patch in range(6)]
    assert bits == [48, 48, 48, 48, 49, 49]
    assert load("go1.19.2", "amd64")[0].has("mspan", "freeIndexForScan") is False
    assert load("go1.19.8", "amd64")[0].has("mspan", "freeIndexForScan") is True


# field: 1.19, 1.21 ... 1.27 (measured on builds of each, before there was this generator)
KNOWN = {
    ("g", ""): (392, 408, 424, 432, 440, 440, 456, 456),
    ("g", "sched"): (56,) * 8,
    ("g", "sched.bp"): (104, 104, 104, 104, 104, 96, 96, 96),
    ("g", "syscallpc"): (120, 120, 120, 120, 120, 112, 112, 112),
    ("g", "syscallbp"): (None, None, None, 128, 128, 120, 120, 120),
    ("g", "param"): (136, 136, 136, 144, 144, 136, 136, 136),
    ("g", "atomicstatus"): (144, 144, 144, 152, 152, 144, 144, 144),
    ("g", "goid"): (152, 152, 152, 160, 160, 152, 152, 152),
    ("g", "waitsince"): (168, 168, 168, 176, 176, 168, 168, 168),
    ("g", "waitreason"): (176, 176, 176, 184, 184, 176, 176, 176),
    ("g", "asyncSafePoint"): (180, 180, 180, 188, 188, 180, 180, 180),
    ("g", "lockedm"): (232, 208, 208, 216, 216, 208, 208, 208),
    ("g", "parentGoid"): (None, 272, 272, 280, 280, 272, 280, 280),
    ("g", "gopc"): (296, 280, 280, 288, 288, 280, 288, 288),
    ("g", "ancestors"): (304, 288, 288, 296, 296, 288, 296, 296),
    ("g", "startpc"): (312, 296, 296, 304, 304, 296, 304, 304),
    ("g", "waiting"): (328, 312, 312, 320, 320, 312, 320, 320),
    ("g", "labels"): (360, 344, 344, 352, 352, 344, 352, 352),
    ("g", "sleepWhen"): (None, None, None, 368, 368, 360, 368, 368),
    ("m", "procid"): (72, 72, 72, 72, 72, 64, 64, 64),
    ("m", "curg"): (192, 192, 192, 192, 192, 184, 184, 184),
    ("m", "p"): (208, 208, 208, 208, 208, 200, 208, 208),
    ("m", "id"): (232, 232, 232, 232, 232, 224, 232, 232),
    ("m", "alllink"): (336, 336, 328, 328, 352, 344, 352, 352),
    ("p", "mcache"): (64, 64, 64, 56, 56, 56, 56, 56),
    ("p", "runqhead"): (400, 400, 400, 392, 392, 392, 400, 400),
    ("p", "runnext"): (2456, 2456, 2456, 2448, 2448, 2448, 2456, 2456),
    ("p", "timers"): (8840, 8840, 8872, 8840, 8840, 9392, 13672, 13672),
    ("schedt", "midle"): (32, 32, 32, 32, 32, 40, 40, 40),
    ("schedt", "nmidle"): (40, 40, 40, 40, 40, 48, 64, 64),
    ("schedt", "maxmcount"): (56, 56, 56, 56, 56, 64, 80, 80),
    ("schedt", "npidle"): (88, 88, 88, 88, 88, 96, 112, 112),
    ("schedt", "runq"): (96, 104, 104, 104, 104, 112, 128, 128),
    ("gcControllerState", "memoryLimit"): (8,) * 8,
    ("gcControllerState", "gcPercentHeapGoal"): (104, 72, 72, 72, 72, 72, 72, 72),
    ("gcControllerState", "heapLive"): (136, 104, 104, 104, 104, 104, 104, 104),
    ("gcControllerState", "heapMarked"): (184, 152, 152, 152, 152, 152, 152, 152),
    ("gcControllerState", "mappedReady"): (344, 312, 312, 312, 312, 312, 312, 312),
    ("mstats", "last_gc_unix"): (3592, 3592, 3592, 3592, 3592, 3568, 3568, 3568),
    ("mstats", "pause_end"): (5656, 5656, 5656, 5656, 5656, 5632, 5632, 5632),
    ("mstats", "numforcedgc"): (7708, 7708, 7708, 7708, 7708, 7684, 7684, 7684),
    ("workType", "pauseNS"): (392, 448, 448, 472, 472, 560, 696, 696),
    ("sudog", "elem"): (24,) * 8,
    ("sudog", "waitlink"): (64, 64, 64, 64, 64, 64, 72, 72),
    ("sudog", "c"): (80, 80, 80, 80, 80, 80, 88, 88),
    ("hchan", "closed"): (28,) * 8,
    ("hchan", "recvq"): (56, 56, 56, 64, 64, 64, 64, 64),
    ("mheap", "allspans"): (65856, 65864, 65864, 65864, 65864, 65864, 65864, 65864),
    ("moduledata", "gofunc"): (304, 320, 320, 320, 320, 320, 320, 344),
    ("sync.RWMutex", "readerCount"): (16,) * 8,
}


@pytest.mark.parametrize(("struct", "path"), KNOWN, ids=".".join)
def test_fields_that_were_measured(struct, path):
    for minor, value in zip(MEASURED, KNOWN[struct, path], strict=True):
        table = load(f"go{minor}", "amd64")[0]
        if value is None:
            assert not table.has(struct, path), minor
            with pytest.raises(KeyError):
                table.offset(struct, path)
        else:
            assert (table.offset(struct, path) if path else table.size(struct)) == value, minor


def test_what_lists_say():
    measured = [load(f"go{version}", "amd64")[0] for version in MEASURED]
    reasons = [len(table.wait_reasons) for table in measured]
    assert reasons == [27, 32, 37, 38, 44, 47, 47, 47]
    wrappers = [table.func_ids["wrapper"] for table in measured]
    assert wrappers == [21, 21, 22, 22, 22, 23, 23, 23]
    for minor in MINORS:
        table = last(minor)
        assert table.pclntab_magic == (0xFFFFFFF0 if minor in ("1.18", "1.19") else 0xFFFFFFF1)
        assert table.wait_reasons[table.wait_reasons.index("chan receive")] == "chan receive"
        assert table.g_status.items() >= {"idle": 0, "running": 2, "waiting": 4, "dead": 6, "scan": 0x1000}.items()
        assert table.p_status.items() >= {"idle": 0, "running": 1, "dead": 4}.items()
        assert table.func_flags == {"TOPFRAME": 1, "SPWRITE": 2, "ASM": 4}
        assert table.funcdata["InlTree"] == 3
        assert table.pcdata["InlTreeIndex"] == 2
        assert len(table.size_classes) == len(table.size_class_pages) == 68
        assert table.size_classes[:3] == (0, 8, 16)
        assert table.size_classes[-1] == 32768
        assert table.array("semtable") == Array(0, 251, 64)
        assert table.width("g", "goid") == 8
        assert table.sources["wait_reasons"] == "src/runtime/runtime2.go"


@pytest.mark.parametrize("minor", MINORS)
def test_signatures_lie_in_their_variables(minor):
    table = last(minor)
    for name in ("allgs", "allglen", "allp", "allm", "sched", "gcController", "memstats", "work", "mheap_", "semtable"):
        assert table.signatures[name]
    for name, functions in table.signatures.items():
        assert 0 < len(functions) <= 40
        for offsets in functions.values():
            assert 0 <= min(offsets) <= max(offsets) < table.globals[name].size


@pytest.mark.parametrize("minor", MINORS)
def test_the_other_architecture(minor):
    table = last(minor, "arm64")
    assert table.arch == "arm64"
    assert table.structs["g"] == last(minor).structs["g"]
    line = 64 if minor in ("1.18", "1.19") else 128  # internal/cpu/cpu_arm64.go, CacheLinePadSize
    assert table.size("semtable") == 251 * line
    assert not table.signatures
    assert not table.tested
    assert table.untested_note


def test_files_are_whole_and_small():
    for minor in MINORS:
        path = layout.FOLDER / f"go{minor}.json"
        file = msgspec.json.decode(path.read_bytes(), type=File)
        assert path.stat().st_size < 200_000
        assert (file.schema, file.go) == (layout.SCHEMA, minor)
        assert {table.arch for table in file.tables} == {"amd64", "arm64"}
        for arch in ("amd64", "arm64"):
            patches = [patch for table in file.tables if table.arch == arch for patch in table.releases]
            assert len(patches) == len(set(patches))
        kinds = {field.kind for struct in file.tables[0].structs.values() for field in struct.fields.values()}
        assert kinds <= {*layout.WIDTHS, "struct"}
        for struct in file.tables[0].structs.values():
            assert all(0 <= field.offset < struct.size for field in struct.fields.values())


def test_a_file_that_is_not_ours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "FOLDER", tmp_path)
    head = {"schema": 99, "go": "1.28", "tested": True, "note": ""}
    table = {"arch": "amd64", "patches": [0], "source": "x"}
    (tmp_path / "go1.28.json").write_text(json.dumps(head | {"tables": [table]}))
    with pytest.raises(UnknownVersion):
        load("go1.28.0", "amd64")
    (tmp_path / "go1.29.json").write_text(json.dumps(head | {"schema": 1, "go": "1.29", "tables": []}))
    with pytest.raises(UnknownVersion):
        load("go1.29.0", "amd64")


# -- the generator


def test_constants_of_a_go_file():
    text = "const (\n\tA T = iota // x\n\tB\n\n\t_C_unused\n\tD = 1 << iota\n\tE = A + 0x10\n)\n"
    text += "const (\n\tF = -1\n\tG = f()\n)\n"
    assert source.constants(text, "[A-Z]") == {"A": 0, "B": 1, "D": 8, "E": 16, "F": -1}


def made(version, structs, touched, arch="amd64"):
    signed = {"x": {"f": touched}} if touched else {}
    lists = {name: {"a": 1} for name in files.LISTS}
    patch = int(version.split(".")[2])
    return files.Made(
        version, arch, "made", structs, {}, lists, (patch, patch + 10), signed, {"x": {"f": set(touched)}}
    )


def test_only_what_differs_is_kept_of_the_others():
    new = made("1.99.2", {"g": [8, {}], "m": [8, {}]}, [0, 8])
    same = made("1.99.1", {"g": [8, {}], "m": [8, {}]}, [0, 8, 16])
    old = made("1.99.0", {"g": [16, {}]}, [4])
    arm = [made(f"1.99.{patch}", {"g": [32, {}], "m": [8, {}]}, [], "arm64") for patch in (1, 2)]
    arm.append(made("1.99.0", {"g": [16, {}]}, [], "arm64"))
    tables = json.loads(files.text([old, *arm, new, same], tested=False, note="x"))["tables"]
    assert [(table["arch"], table["patches"]) for table in tables] == [
        ("amd64", [1, 2]), ("amd64", [0]), ("arm64", [1, 2]), ("arm64", [0]),
    ]  # fmt: skip
    assert [table["declared"] for table in tables] == [[11, 12], [10], [11, 12], [10]]
    assert tables[1]["structs"] == {"g": [16, {}], "m": None}
    assert tables[1]["signatures"] == {"x": {"f": [4]}}
    assert tables[2]["structs"] == {"g": [32, {}]}
    assert tables[3]["structs"] == {"g": [16, {}], "m": None}
    assert "signatures" not in tables[3]


def same_as_the_file(version: str) -> None:
    """What the toolchain says now is what the file says."""
    for arch in ("amd64", "arm64"):
        made = msgspec.json.decode(files.text([layouts.make(version, arch)]), type=File)
        now, then = layout.Layout(made, made.tables[0]), load(f"go{version}", arch)[0]
        for name in ("structs", "globals", *files.LISTS):
            assert getattr(now, name) == getattr(then, name), f"{version} {arch} {name}"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("version", toolchain.QUICK)
def test_the_toolchain_says_the_same(version):
    same_as_the_file(version)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("version", toolchain.VERSIONS[1:-1])
def test_the_other_toolchains_say_the_same(version):
    same_as_the_file(version)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("version", toolchain.QUICK)
def test_how_a_program_is_built_moves_nothing(version):
    """-race adds code, PIE moves it, GOAMD64=v3 uses other instructions: no struct changes."""
    plain = layouts.structs(layouts.build(version, "probe"))
    for flags, env in ((["-race"], {"CGO_ENABLED": "1"}), (["-buildmode=pie"], {}), ([], {"GOAMD64": "v3"})):
        assert layouts.structs(layouts.build(version, "probe", "amd64", *flags, **env)) == plain


def test_the_tables_are_in_the_wheel(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    house = tmp_path / "house"
    house.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(toolchain.ROOT / name, house)
    (house / "gotriage").mkdir()
    shutil.copy(toolchain.ROOT / "gotriage/__init__.py", house / "gotriage")
    shutil.copytree(layout.FOLDER, house / "gotriage/goruntime/layouts")
    subprocess.run(command, cwd=house, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/layouts/" in name}
    assert names == {f"go{minor}.json" for minor in MINORS}
