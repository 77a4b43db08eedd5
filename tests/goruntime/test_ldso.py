"""The loaders' rules on folders that only exist here; tests/real asks the loaders themselves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from gotriage.goruntime.ldso import Cpu, Glibc, Loader, Musl, Start
from gotriage.goruntime.loader import glibc_version, libc_of, musl_version, read_loader, system_folders
from gotriage.host.folders import MAX_TRIES, Folders
from gotriage.host.inroot import InRoot


@dataclass
class Object:
    origin: str = "/app"
    rpath: str | None = None
    runpath: str | None = None
    nodeflib: bool = False
    parent: Object | None = None


@pytest.fixture
def places(tmp_path):
    """libx.so in many folders of a root of its own."""
    for folder in ("app", "rpath", "runpath", "env", "lib", "usr/lib", "outer", "lib/x86_64-linux-gnu", "opt/haswell"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "libx.so").touch()
    with InRoot(str(tmp_path)) as root, Folders(root) as folders:
        yield folders


LOADER = Loader("/lib64/ld.so", "x86_64", 64, (2, 40))


def found(rules, asker, name="libx.so"):
    return [path for path, _ in rules.candidates(name, asker)]


def test_the_order_of_glibc(places):
    asker = Object(runpath="/runpath")
    rules = Glibc(places, LOADER, Start({"LD_LIBRARY_PATH": "/env"}), asker)
    assert list(rules.candidates("libx.so", asker)) == [
        ("/env/libx.so", "LD_LIBRARY_PATH"),
        ("/runpath/libx.so", "DT_RUNPATH"),
        ("/lib/libx.so", "default"),
        ("/usr/lib/libx.so", "default"),
    ]


def test_an_rpath_counts_only_without_a_runpath(places):
    main = Object(rpath="/rpath", runpath="/runpath")
    rules = Glibc(places, LOADER, Start(), main)
    assert found(rules, main)[0] == "/runpath/libx.so"
    assert found(rules, Object(parent=main))[0] == "/lib/libx.so"
    outer = Object(rpath="/outer")
    assert found(Glibc(places, LOADER, Start(), outer), Object(parent=outer))[0] == "/outer/libx.so"


def test_tokens(places):
    loader = Loader("/lib64/ld.so", "x86_64", 64, (2, 40), ("/lib/x86_64-linux-gnu/", "/lib/"))
    haswell = Cpu(frozenset({"avx2", "bmi1", "bmi2", "abm", "movbe", "popcnt", "fma"}), intel=True)
    asker = Object(rpath="$ORIGIN:/$LIB:/opt/${PLATFORM}:/opt/$PLATFORMS")
    rules = Glibc(places, loader, Start(cpu=haswell), asker)
    assert found(rules, asker)[:3] == ["/app/libx.so", "/lib/x86_64-linux-gnu/libx.so", "/opt/haswell/libx.so"]


def test_secure_execution(places):
    asker = Object(origin="/outer", rpath="$ORIGIN:/rpath")
    start = Start({"LD_LIBRARY_PATH": "/env", "LD_PRELOAD": "/env/libx.so:libx.so"}, secure=True)
    rules = Glibc(places, LOADER, start, asker)
    assert found(rules, asker)[0] == "/rpath/libx.so"
    assert rules.preloads("") == ["libx.so"]


def test_preloads(places):
    rules = Glibc(places, LOADER, Start({"LD_PRELOAD": "a.so b.so::c.so"}), Object())
    assert rules.preloads("d.so # not this\n\te.so:f.so") == ["a.so", "b.so", "c.so", "d.so", "e.so", "f.so"]


def test_levels_need_a_loader_that_knows_them():
    from gotriage.goruntime import ldso

    v3 = Cpu(frozenset(ldso._V3))
    assert v3.levels == ("x86-64-v3", "x86-64-v2")
    with InRoot("/") as root, Folders(root) as folders:
        for version, levels, legacy in (((2, 31), False, True), ((2, 36), True, True), ((2, 37), True, False)):
            rules = Glibc(folders, Loader("", "x86_64", 64, version), Start(cpu=v3), Object())
            assert (bool(rules.levels), bool(rules._legacy)) == (levels, legacy)
        assert not Glibc(folders, Loader("", "aarch64", 64, (2, 40)), Start(cpu=v3), Object()).levels


def test_the_order_of_musl(places):
    main = Object(rpath="/rpath", runpath="/runpath")
    rules = Musl(places, LOADER, Start({"LD_LIBRARY_PATH": "/env:"}), main)
    assert list(rules.candidates("libx.so", Object(rpath="$ORIGIN", parent=main))) == [
        ("/env/libx.so", "LD_LIBRARY_PATH"),
        ("/app/libx.so", "DT_RPATH"),
        ("/runpath/libx.so", "DT_RUNPATH"),
        ("/lib/libx.so", "musl path"),
        ("/usr/lib/libx.so", "musl path"),
    ]
    unknown = Object(rpath="$ORIGIN:/$LIB:/rpath")
    assert found(Musl(places, LOADER, Start(), unknown), unknown)[0] == "/lib/libx.so"


def test_a_hostile_number_of_folders_ends(places):
    asker = Object(rpath=":".join(f"/none/{i}" for i in range(100_000)))
    rules = Glibc(places, LOADER, Start(), asker)
    for i in range(50):
        found(rules, asker, f"lib{i}.so")
    assert places.tries <= MAX_TRIES
    places.tries = MAX_TRIES
    assert places.exhausted
    assert found(rules, asker) == []


def test_names_of_loaders():
    glibc = (
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/ld-linux-aarch64.so.1",
        "/lib/ld64.so.1",
        "/lib/ld.so.1",
        "ld-2.31.so",
    )
    assert {libc_of(name) for name in glibc} == {"glibc"}
    assert libc_of("/lib/ld-musl-x86_64.so.1") == "musl"
    assert libc_of("/system/bin/linker64") == "unknown"
    assert libc_of("") == "unknown"


def test_what_is_built_into_a_loader():
    data = b"\0x/\0/no\0\0/lib64/\0/usr/lib64/\0\0ld.so (GNU libc) stable release version 2.38.\0"
    assert system_folders(data) == ("/lib64/", "/usr/lib64/")
    assert glibc_version(data) == (2, 38)
    assert musl_version(b"musl libc\0\x001.2.5\0") == "1.2.5"
    assert system_folders(b"/\0/" * 100_000) == ()
    assert system_folders(b"") == ()


def test_the_loader_of_this_machine_and_a_missing_one(tmp_path):
    with InRoot("/") as root:
        loader, words = read_loader(root, "/lib64/ld-linux-x86-64.so.2", "x86_64", 64)
        assert loader.system[-2:] == ("/lib/", "/usr/lib/") or "/usr/lib64/" in loader.system
        assert words == f"{loader.version[0]}.{loader.version[1]}"
        assert loader.cache.entries
    (tmp_path / "usr/lib").mkdir(parents=True)
    with InRoot(str(tmp_path)) as root:
        loader, words = read_loader(root, "/lib64/ld-linux-x86-64.so.2", "x86_64", 64)
        assert (loader.system, loader.version, words) == (("/usr/lib/",), None, "")


def test_musl_path_files(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld-musl-aarch64.path").write_text("/a:/b\n/c\n")
    with InRoot(str(tmp_path)) as root:
        assert read_loader(root, "/lib/ld-musl-aarch64.so.1", "aarch64", 64)[0].system == ("/a", "/b", "/c")
        assert read_loader(root, "/lib/ld-musl-x86_64.so.1", "x86_64", 64)[0].system == (
            "/lib",
            "/usr/local/lib",
            "/usr/lib",
        )
