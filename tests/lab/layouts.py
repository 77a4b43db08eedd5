"""Makes gotriage/goruntime/layouts: builds a probe with each Go toolchain and writes down what it says of itself.

    python -m tests.lab.layouts              every release that is known
    python -m tests.lab.layouts 1.27.3 ...   these only; the others of a file stay as they are

How to add a Go version: docs/layouts.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elftools.elf.elffile import ELFFile
from gotriage.goruntime import layout

from tests.lab import toolchain
from tests.lab.golayout import dwarf, signatures, source, wanted

if TYPE_CHECKING:
    from collections.abc import Iterable

PROBE = Path(__file__).with_name("golayout") / "probe"
FOLDER = layout.FOLDER
LISTS = (
    "wait_reasons", "g_status", "p_status", "func_ids", "func_flags", "pcdata", "funcdata", "size_classes",
    "size_class_pages", "pclntab_magic", "constants", "sources",
)  # fmt: skip
DEBIAN = Path("/usr/lib/go-1.19")
"""Where Debian 12 has the Go that its own services are built with; 1.19 is in no registry."""


@dataclass
class Made:
    """What one release says, on one architecture."""

    version: str
    arch: str
    structs: dict[str, Any]
    globals: dict[str, Any]
    lists: dict[str, Any]
    signatures: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    @property
    def patch(self) -> int:
        """3 of 1.27.3."""
        return int(self.version.split(".")[2])

    def parts(self) -> dict[str, Any]:
        """All that a table holds beside what it is of."""
        return {"structs": self.structs, "globals": self.globals, **self.lists, "signatures": self.signatures}


# -- builds


def goroot(version: str) -> Path:
    """The toolchain of a release, installed if need be."""
    if version == "1.19.8":
        return DEBIAN
    return toolchain.toolchain(version).parents[1]


def build(version: str, program: str, arch: str = "amd64", *flags: str, **env: str) -> Path:
    """A program of probe/, with symbols and DWARF; kept in the cache."""
    text = PROBE / f"{program}.go"
    key = hashlib.sha256(repr((flags, sorted(env.items()))).encode() + text.read_bytes()).hexdigest()[:12]
    path = toolchain.CACHE / "layouts" / f"{version}-{arch}-{program}-{key}"
    if not path.exists():
        root = goroot(version)
        folder = path.with_name(f"{path.name}.src")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(text, folder / "main.go")
        (folder / "go.mod").write_text("module probe\n\ngo 1.18\n")
        around = toolchain.environment(version) | {"GOROOT": str(root), "GOARCH": arch} | env
        around["PATH"] = f"{root}/bin:{around['PATH']}"
        command = [str(root / "bin/go"), "build", *flags, "-o", f"{path}.part", "."]
        subprocess.run(command, cwd=folder, env=around, check=True)
        shutil.rmtree(folder)
        Path(f"{path}.part").rename(path)
    return path


# -- what a build says


def make(version: str, arch: str = "amd64") -> Made:
    """Everything about a release on an architecture."""
    full = build(version, "probe", arch)
    program = dwarf.read(full, set(wanted.STRUCTS), set(wanted.GLOBALS))
    lists, sources = source.read_all(reader(goroot(version) / "src"))
    _agree(lists, program.constants, version)
    lists["pclntab_magic"] = _magic(full)
    sources["pclntab_magic"] = "the build's own"
    constants = {_short(name): value for name, value in program.constants.items() if wanted.CONSTANTS.fullmatch(name)}
    lists["constants"] = dict(sorted(constants.items()))
    lists["sources"] = dict(sorted(sources.items()))
    found: dict[str, dict[str, list[int]]] = {}
    if arch == "amd64":
        binaries = [signatures.Binary(path) for path in (full, build(version, "least"))]
        found = signatures.make(binaries[0], binaries[1:], set(wanted.SIGNED))
    return Made(
        version, arch,
        {_short(name): struct for name, struct in sorted(program.structs.items())},
        {_short(name): (_short(kind), size) for name, (kind, size) in sorted(program.variables.items())},
        lists, found,
    )  # fmt: skip


def reader(src: Path) -> source.Reader:
    """Reads files of a source tree."""

    def read(path: str) -> str:
        file = src / path
        return file.read_text() if file.exists() else ""

    return read


def _short(name: str) -> str:
    return name.removeprefix("runtime.")


def _magic(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(ELFFile(file).get_section_by_name(".gopclntab").data()[:4], "little")


def _agree(lists: dict[str, Any], constants: dict[str, int], version: str) -> None:
    """What was read from source text must be what the compiler made of it."""
    for names, prefixes in (
        ("func_ids", ("internal/abi.FuncID_", "internal/abi.FuncID", "runtime.funcID_", "runtime.funcID_wrapper"[:15])),
        ("g_status", ("runtime._G",)),
        ("p_status", ("runtime._P",)),
        ("pcdata", ("internal/abi.PCDATA_", "runtime._PCDATA_")),
        ("funcdata", ("internal/abi.FUNCDATA_", "runtime._FUNCDATA_")),
    ):
        for name, value in lists[names].items():
            for prefix in prefixes:
                if constants.get(prefix + name, value) != value:
                    raise ValueError(f"Go {version}: {prefix}{name} is {constants[prefix + name]}, not {value}")
    reasons = [name for name in constants if name.startswith("runtime.waitReason")]
    if reasons and max(constants[name] for name in reasons) >= len(lists["wait_reasons"]):
        raise ValueError(f"Go {version}: more wait reasons than words")


# -- the files


def write(go: str, everything: Iterable[Made], *, tested: bool = True, note: str = "", folder: Path = FOLDER) -> Path:
    """The file of a minor version: the newest amd64 release whole, the others by what differs."""
    order = sorted(everything, key=lambda made: (made.arch != "amd64", -made.patch))
    base = order[0]
    tables: list[tuple[dict[str, Any], list[str]]] = []
    for made in order:
        parts = made.parts() if made is base else _differing(base, made)
        if made.arch != base.arch:
            parts.pop("signatures", None)
        for other, versions in tables:
            if {key: value for key, value in other.items() if key != "arch"} == parts and other["arch"] == made.arch:
                versions.append(made.version)
                break
        else:
            tables.append(({"arch": made.arch} | parts, [made.version]))
    path = folder / f"go{go}.json"
    path.write_text(_text(go, tables, tested=tested, note=note))
    return path


def _differing(base: Made, made: Made) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name in ("structs", "globals"):
        own, first = getattr(made, name), getattr(base, name)
        different = {key: value for key, value in own.items() if _plain(first.get(key)) != _plain(value)}
        different |= {key: None for key in first if key not in own}
        if different:
            parts[name] = different
    parts |= {name: made.lists[name] for name in LISTS if _plain(base.lists[name]) != _plain(made.lists[name])}
    if base.arch == made.arch and base.signatures != made.signatures:
        parts["signatures"] = made.signatures
    return parts


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _text(go: str, tables: list[tuple[dict[str, Any], list[str]]], *, tested: bool, note: str) -> str:
    """JSON with one struct, list or signature a line: small, and a change shows in a diff."""
    head = {"schema": layout.SCHEMA, "go": go, "tested": tested, "note": note}
    lines = [f'{json.dumps(head)[:-1]}, "tables": [']
    for number, (parts, versions) in enumerate(tables):
        patches = sorted(int(version.split(".")[2]) for version in versions)
        start = {
            "arch": parts["arch"],
            "patches": patches,
            "source": wanted.SOURCE.format(", ".join(sorted(versions, key=_key))),
        }
        lines.append(("," if number else "") + json.dumps(start)[:-1])
        lines += [_part(name, parts[name]) for name in ("structs", "globals", *LISTS, "signatures") if name in parts]
        lines.append("}")
    return "\n".join([*lines, "]}"]) + "\n"


def _part(name: str, value: Any) -> str:
    if name not in ("structs", "globals", "signatures"):
        return f', "{name}": {_dense(value)}'
    return f', "{name}": {{\n' + ",\n".join(f"{json.dumps(key)}:{_dense(each)}" for key, each in value.items()) + "}"


def _dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _key(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def main(arguments: list[str]) -> int:
    """All versions of the minors that were named (or of all)."""
    names = {".".join(version.split(".")[:2]) for version in arguments}
    os.nice(10)
    for go in sorted(names or {".".join(v.split(".")[:2]) for v in wanted.RELEASES}, key=_key):
        releases = [version for version in wanted.RELEASES if version.startswith(f"{go}.")]
        if arguments:
            releases = [version for version in releases if version in arguments]
        made = [make(version) for version in releases]
        made += [make(version, "arm64") for version in releases]
        path = write(go, made)
        print(f"{path.name}: {path.stat().st_size} bytes, from {', '.join(releases)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
