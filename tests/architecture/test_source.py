"""Rules of the house that no linter knows, read from the source itself; each is shown to notice a violation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gotriage"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


# -- only the host room opens system files


SYSTEM_PATH = re.compile(r"^/(proc|sys|dev|run|var|etc)/")
OPENERS = {
    "open",
    "read_text",
    "read_bytes",
    "listdir",
    "scandir",
    "readlink",
    "iterdir",
    "stat",
    "exists",
    "is_file",
    "is_dir",
}


def opens_system_file(tree: ast.AST) -> list[int]:
    """Line numbers of calls that open or look at a system path by a literal, or use the builtin open at all."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            found.append(node.lineno)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        base = node.func.value if isinstance(node.func, ast.Attribute) else None
        literals = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if isinstance(base, ast.Call):
            literals += [arg.value for arg in base.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        on_host = isinstance(base, ast.Attribute) and base.attr in ("proc", "view")
        if name in OPENERS and not on_host and any(SYSTEM_PATH.match(text) for text in literals):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if room_of(p) in ("collectors", "rules", "render", "ui", "cli", "catalog", "target")],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_only_host_opens_system_files(path):
    assert opens_system_file(ast.parse(path.read_text())) == []


def test_the_check_for_system_files_notices():
    assert opens_system_file(ast.parse("Path('/proc/1/stat').read_text()")) == [1]
    assert opens_system_file(ast.parse("os.listdir('/proc/1/fd')")) == [1]
    assert opens_system_file(ast.parse("open('x')")) == [1]


# -- no view, rule or widget knows whether it is live


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if room_of(p) in ("ui", "rules", "render")], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_reader_knows_of_replay(path):
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not [name for name in names if "replay" in name.lower()]


# -- what the metadata may not name


def names_in_metadata(text: str) -> set[str]:
    project = tomllib.loads(text)
    lists = [project["project"]["dependencies"], *project["project"].get("optional-dependencies", {}).values()]
    lists += [
        [item for item in group if isinstance(item, str)] for group in project.get("dependency-groups", {}).values()
    ]
    return {re.split(r"[<>=!~;\[ ]", item)[0].lower() for items in lists for item in items}


def test_bcc_is_never_a_dependency():
    assert not names_in_metadata((ROOT / "pyproject.toml").read_text()) & {"bcc", "python-bcc", "bcc-python", "systemd"}
    for lock in (ROOT / "requirements").glob("*.lock"):
        assert not re.search(r"^(python-)?bcc(-python)?==", lock.read_text(), re.MULTILINE)


def test_the_check_for_bcc_notices():
    assert "bcc" in names_in_metadata('[project]\nname="x"\ndependencies=["bcc>=1"]\n')


# -- the repository speaks of itself alone


def test_no_lock_names_a_registry_host():
    for lock in (ROOT / "requirements").glob("*.lock"):
        assert "://" not in lock.read_text(), lock


# -- start-up imports only what the first screen needs


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


HEAVY = {"textual", "rich", "pyroute2", "psutil", "numpy", "elftools"}


@pytest.mark.parametrize(
    "module",
    [
        "gotriage.cli.main",
        "gotriage.cli.parser",
        "gotriage.agent.launcher",
        "gotriage.catalog",
        "gotriage.rules.engine",
        "gotriage.session.store",
    ],
)
def test_start_up_is_light(module):
    assert not modules_after(f"import {module}") & HEAVY


def test_the_check_for_heavy_imports_notices():
    assert "textual" in modules_after("import gotriage.ui.app")


# -- each view is complete


def test_every_catalogue_row_names_what_exists():
    import importlib

    from gotriage import catalog

    for source in (*catalog.SOURCES, *catalog.PICKER_SOURCES):
        for backend in source.backends:
            module, _, name = backend.partition(":")
            assert hasattr(importlib.import_module(module), name), backend
    sources = {source.name for source in catalog.SOURCES}
    for view in catalog.VIEWS:
        assert set(view.sources) <= sources
        row_fields = set()
        if view.table is not None:
            (rows,) = (f.type for f in __import__("msgspec").structs.fields(view.table) if f.name == "rows")
            row_fields = set(rows.__args__[0].__struct_fields__)
        assert {column.field for column in view.columns} <= row_fields, view.id
