"""Only `bcc` and `systemd` come from the distribution's folder, and nothing else leaks through."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from gotriage.host import optional
from gotriage.host.optional import DIST_PACKAGES, DistributionFinder

ROOT = Path(__file__).parents[2]
BOTH = ("bcc", "systemd")


def package(folder: Path, name: str, body: str = "") -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(body)


def isolated(code: str) -> str:
    """The output of `code` in a fresh interpreter of our environment."""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_named_package_is_found_in_the_folder(tmp_path):
    package(tmp_path, "bcc")
    spec = DistributionFinder(BOTH, tmp_path).find_spec("bcc")
    assert spec is not None
    assert spec.origin == str(tmp_path / "bcc/__init__.py")


@pytest.mark.parametrize("name", ["yaml", "bccx", "bc", "Bcc", "systemd.evil", "bcc.table", "textual"])
def test_no_other_name_is_found_though_the_folder_has_it(tmp_path, name):
    package(tmp_path, name)
    assert DistributionFinder(BOTH, tmp_path).find_spec(name) is None


def test_a_submodule_is_left_to_its_package(tmp_path):
    package(tmp_path, "bcc")
    assert DistributionFinder(BOTH, tmp_path).find_spec("bcc.table", [str(tmp_path / "bcc")]) is None


def test_a_missing_folder_finds_nothing(tmp_path):
    assert DistributionFinder(BOTH, tmp_path / "absent").find_spec("bcc") is None


def test_an_empty_folder_of_that_name_is_no_package(tmp_path):
    (tmp_path / "systemd").mkdir()
    assert DistributionFinder(BOTH, tmp_path).find_spec("systemd") is None


def test_a_package_built_for_another_python_is_absent(tmp_path, monkeypatch):
    package(tmp_path, "gotriage_probe_dummy", "from . import _reader_of_another_python")
    monkeypatch.syspath_prepend(tmp_path)
    assert optional._load("gotriage_probe_dummy") is None


def test_a_package_whose_library_is_missing_is_absent(tmp_path, monkeypatch):
    package(tmp_path, "gotriage_probe_other", "import ctypes; ctypes.CDLL('libabsent-of-gotriage.so.0')")
    monkeypatch.syspath_prepend(tmp_path)
    assert optional._load("gotriage_probe_other") is None


def test_asking_twice_offers_the_finder_once(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    optional.load_journal.cache_clear()
    optional.load_journal()
    before = list(sys.meta_path)
    optional.load_journal.cache_clear()
    optional.load_journal()
    assert sys.meta_path == before


def test_a_bcc_from_elsewhere_is_never_run(tmp_path):
    package(tmp_path, "bcc", "raise SystemExit('the wrong package ran')")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from gotriage.host import optional
optional.DIST_PACKAGES = Path({str(tmp_path / "absent")!r})
print(optional.load_bcc())
"""
    assert isolated(code) == "None"


def test_the_distributions_bcc_comes_before_any_other(tmp_path):
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        package(tmp_path / name, "bcc", f"maker = {name!r}")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path / "theirs")!r})
from pathlib import Path
from gotriage.host import optional
optional.DIST_PACKAGES = Path({str(tmp_path / "ours")!r})
print(optional.load_bcc().maker)
"""
    assert isolated(code) == "ours"


@pytest.mark.real
def test_the_distribution_gives_its_journal_reader_and_nothing_else():
    code = """
import importlib.util, sys
from gotriage.host.optional import DIST_PACKAGES, load_bcc, load_journal
journal = load_journal(); load_bcc()
print(journal.__name__, hasattr(journal, "_Reader"), str(DIST_PACKAGES) in sys.path)
names = {path.name.split(".")[0] for path in DIST_PACKAGES.iterdir()} - {"bcc", "systemd", "__pycache__"}
def where(name):
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return ""
    return str(found.origin or "") if found else ""
print([name for name in names if name.isidentifier() and where(name).startswith(str(DIST_PACKAGES))])
"""
    assert isolated(code).splitlines() == ["systemd.journal True False", "[]"]


def declared() -> dict[str, str]:
    """Every file that can name a package to install from the registry."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [project["build-system"]["requires"], project["project"]["dependencies"]]
    lists += project["project"]["optional-dependencies"].values()
    lists += project["dependency-groups"].values()
    found = {"pyproject.toml": "\n".join(line for lines in lists for line in lines)}
    found |= {str(path): path.read_text() for path in (ROOT / "requirements").rglob("*.lock")}
    return found


@pytest.mark.parametrize(("file", "text"), declared().items(), ids=[Path(name).name for name in declared()])
def test_no_file_asks_the_registry_for_bcc(file, text):
    """The registry's packages of these names are not the BPF compiler collection, and the free names are anyone's."""
    assert not re.search(r"(?im)^\s*(python[-_.]?)?(bcc|bpfcc)([-_.]?python)?\b", text), file


def test_the_folder_is_the_distributions():
    assert Path("/usr/lib/python3/dist-packages") == DIST_PACKAGES
