"""Owners of files, and what to install, from the databases of dpkg, apk and rpm in a root of their own."""

from __future__ import annotations

import gzip
import sqlite3
import struct
import subprocess
from pathlib import Path

import pytest
from gotriage.host import packages, rpmdb
from gotriage.host.inroot import InRoot

RPMDB = Path(__file__).parents[1] / "fixtures/rpm/4.18/rpmdb.sqlite.gz"
"""Made by rpm 4.18.0: gtdemo-libs owns /usr/lib64/libgtdemo.so.1, gtother the same below /opt/other/lib."""


def write(root, path, content):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def debian(tmp_path):
    """A root with merged /usr whose dpkg knows files by the old and by the new path."""
    write(tmp_path, "usr/lib/libone.so.1.2", "x")
    (tmp_path / "usr/lib/libone.so.1").symlink_to("libone.so.1.2")
    write(tmp_path, "usr/lib/libtwo.so.2", "x")
    (tmp_path / "lib").symlink_to("usr/lib")
    info = "var/lib/dpkg/info/"
    write(tmp_path, info + "libone1:amd64.list", "/.\n/lib\n/lib/libone.so.1.2\n")
    write(tmp_path, info + "libtwo2.list", "/usr/lib\n/usr/lib/libtwo.so.2\n/usr/lib/libgone.so.3\n")
    write(tmp_path, info + "libtwo2.md5sums", "0  usr/lib/libtwo.so.2\n")
    write(
        tmp_path,
        "var/lib/apt/lists/x_Packages",
        "Package: zzz\n\nPackage: libssl1.1\nVersion: 1\n\nPackage: libk4t64\n",
    )
    return tmp_path


def test_dpkg_owners_under_both_names_of_merged_folders(debian):
    with InRoot(str(debian)) as root:
        assert packages.manager(root) == "dpkg"
        assert packages.owners(root, ["/usr/lib/libone.so.1", "/lib/libtwo.so.2", "/usr/lib/none"]) == {
            "/usr/lib/libone.so.1": "libone1",
            "/lib/libtwo.so.2": "libtwo2",
        }
        assert packages.owners(root, []) == {}
        assert packages.why_unknown(root) == ""


@pytest.mark.parametrize(
    ("soname", "command"),
    [
        ("libgone.so.3", "apt-get install --reinstall libtwo2"),
        ("libssl.so.1.1", "apt-get install libssl1.1"),
        ("libk.so.4", "apt-get install libk4t64"),
        ("libz.so.1", "apt-get install zlib1g"),
        ("libfoo_bar.so.7", "apt-get install libfoo-bar7  (a guess from the name)"),
        ("libgit2.so.1.5", "apt-get install libgit2-1.5  (a guess from the name)"),
        ("/opt/x/liba.so", ""),
        ("lib$(id).so.1", ""),
        ("noise", ""),
    ],
)
def test_what_to_install_on_debian(debian, soname, command):
    with InRoot(str(debian)) as root:
        assert packages.install(root, soname, 64) == command


def test_owners_of_this_machine_are_what_dpkg_says():
    paths = ["/usr/bin/env", "/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libz.so.1"]
    with InRoot("/") as root:
        found = packages.owners(root, paths)
    for path in paths:
        said = ""
        for name in (path, path.removeprefix("/usr"), "/usr" + path):
            done = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False)
            said = said or done.stdout.partition(":")[0]
        assert found[path] == said


def test_distroless_images(tmp_path):
    write(tmp_path, "var/lib/dpkg/status.d/libssl3.md5sums", "0123  usr/lib/libssl.so.3\n")
    write(tmp_path, "usr/lib/libssl.so.3", "x")
    with InRoot(str(tmp_path)) as root:
        assert packages.owners(root, ["/usr/lib/libssl.so.3"]) == {"/usr/lib/libssl.so.3": "libssl3"}


def test_apk(tmp_path):
    write(
        tmp_path,
        "lib/apk/db/installed",
        "P:zlib\nV:1.3\nF:lib\nR:libz.so.1.3\nR:libz.so.1\nF:usr/share\n\nP:musl\nF:\nR:top\n",
    )
    with InRoot(str(tmp_path)) as root:
        assert packages.manager(root) == "apk"
        found = packages.owners(root, ["/lib/libz.so.1", "/usr/lib/libz.so.1.3", "/top", "/lib/x"])
        assert found == {"/lib/libz.so.1": "zlib", "/usr/lib/libz.so.1.3": "zlib", "/top": "musl"}
        assert packages.install(root, "libx.so.1", 64) == "apk add so:libx.so.1"


@pytest.fixture
def fedora(tmp_path):
    write(tmp_path, "usr/lib/sysimage/rpm/rpmdb.sqlite", gzip.decompress(RPMDB.read_bytes()))
    return tmp_path


def test_rpm(fedora):
    with InRoot(str(fedora)) as root:
        assert packages.manager(root) == "rpm"
        names = [
            "/usr/lib64/libgtdemo.so.1",
            "/lib64/libgtdemo.so.1.2.3",
            "/opt/other/lib/libgtdemo.so.1",
            "/x/libgtdemo.so.1",
        ]
        assert packages.owners(root, names) == dict(zip(names, ["gtdemo-libs", "gtdemo-libs", "gtother"], strict=False))
        assert packages.install(root, "libx.so.1", 64) == "dnf install 'libx.so.1()(64bit)'"
        assert packages.install(root, "libx.so.1", 32) == "dnf install 'libx.so.1'"
    write(fedora, "etc/os-release", 'ID="opensuse-leap"\n')
    with InRoot(str(fedora)) as root:
        assert packages.install(root, "libx.so.1", 64).startswith("zypper install ")


def test_rpm_databases_of_other_formats_are_named(tmp_path):
    write(tmp_path, "var/lib/rpm/Packages", "x")
    with InRoot(str(tmp_path)) as root:
        assert packages.manager(root) == "rpm"
        assert "Berkeley DB" in packages.why_unknown(root)
        assert packages.owners(root, ["/lib/x"]) == {}


def test_damaged_rpm_databases_give_nothing(fedora):
    path = fedora / "usr/lib/sysimage/rpm/rpmdb.sqlite"
    whole = path.read_bytes()
    for size in (0, 50, 5000, len(whole) // 2):
        path.write_bytes(whole[:size])
        with InRoot(str(fedora)) as root:
            assert packages.owners(root, ["/usr/lib64/libgtdemo.so.1"]) in (
                {},
                {"/usr/lib64/libgtdemo.so.1": "gtdemo-libs"},
            )


def test_a_query_of_a_hostile_database_is_bounded(tmp_path):
    """`Basenames` is a view that never ends."""
    path = tmp_path / "var/lib/rpm/rpmdb.sqlite"
    path.parent.mkdir(parents=True)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'x' || i AS key, i AS hnum FROM n"
    database.execute(f"CREATE VIEW Basenames AS {endless}")
    database.commit()
    database.close()
    with InRoot(str(tmp_path)) as root:
        assert packages.owners(root, ["/lib/libx.so"]) == {}


@pytest.mark.parametrize(
    "blob", [b"", bytes(8), struct.pack(">II", 2**31, 2**31), struct.pack(">II", 1, 4) + b"\xff" * 16]
)
def test_headers_that_lie(blob):
    try:
        name, files = rpmdb.files_of(blob)
    except struct.error:
        return
    assert (name, files) == ("", set())


def test_nothing_is_known_of_an_empty_root(tmp_path):
    with InRoot(str(tmp_path)) as root:
        assert packages.manager(root) == ""
        assert packages.why_unknown(root) == "no package database in the target's root"
        assert packages.install(root, "libx.so.1", 64) == ""
