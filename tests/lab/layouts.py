"""Makes gotriage/goruntime/layouts: builds a probe with each Go toolchain and writes down what it says of itself.

    python -m tests.lab.layouts                      all files; of releases that declare the same, the newest is built
    python -m tests.lab.layouts [--all] [1.27 ...]   those of these minor versions; --all: every release is built

How to add a Go version: docs/layouts.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from gotriage.goruntime import layout

from tests.lab import toolchain
from tests.lab.golayout import dwarf, files, fromsource, releases, signatures, source, wanted

PROBE = Path(__file__).with_name("golayout") / "probe"
FOLDER = layout.FOLDER
SOURCE = "DWARF of a program that this release built"


# -- builds


def goroot(version: str) -> Path:
    """The toolchain of a release, installed if need be; FileNotFoundError for one that has to be made by hand."""
    if version == releases.DEBIAN:
        return fromsource.FIRST
    if version in toolchain.RELEASES:
        return toolchain.toolchain(version).parents[1]
    home = toolchain.TOOLCHAINS / version / "go"
    if not home.exists():
        raise FileNotFoundError(f"Go {version} is not in .go: see tests/lab/golayout/fromsource.py")
    return home


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


def make(version: str, arch: str = "amd64") -> files.Made:
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
    touched: list[signatures.Touches] = []
    if arch == "amd64":
        least = build(version, "least")
        touched = [signatures.touches(signatures.Binary(path), set(wanted.SIGNED)) for path in (full, least)]
    return files.Made(
        version=version,
        arch=arch,
        source=SOURCE,
        same=releases.same(version),
        structs={_short(name): struct for name, struct in sorted(program.structs.items())},
        globals={_short(name): (_short(kind), size) for name, (kind, size) in sorted(program.variables.items())},
        lists=lists,
        signatures=signatures.make(touched[0], touched[1:]) if touched else {},
        touched=touched[0] if touched else {},
    )


def structs(path: Path) -> dict[str, dwarf.Struct]:
    """The structs of a build of the probe."""
    return dwarf.read(path, set(wanted.STRUCTS), set(wanted.GLOBALS)).structs


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
        ("func_ids", ("internal/abi.FuncID_", "runtime.funcID_")),
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


def main(arguments: list[str]) -> int:
    """The files of the minor versions that were named, by themselves or by a release; or all."""
    os.nice(10)
    named = [word for word in arguments if not word.startswith("-")]
    minors = {".".join(version.split(".")[:2]) for version in named or releases.RELEASES}
    status = 0
    for go in sorted(minors, key=lambda name: int(name[2:])):
        of_it = releases.built(go, everything="--all" in arguments)
        try:
            made = [make(version, arch) for arch in ("amd64", "arm64") for version in of_it]
        except FileNotFoundError as error:
            print(f"go{go}.json stays as it is: {error}", file=sys.stderr)
            status = 1
            continue
        path = files.write(FOLDER, made, tested=go not in releases.UNTESTED, note=releases.UNTESTED.get(go, ""))
        print(f"{path.name}: {path.stat().st_size} bytes, from {', '.join(of_it)}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
