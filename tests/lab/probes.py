"""Compiles gotriage/probes/*.bpf.c into gotriage/probes/objects: one object a program and architecture.

    python -m tests.lab.probes [NAME ...]

The same clang and libbpf headers give the same bytes, wherever the checkout lies. Only DWARF is taken away: libbpf and
the verifier work from BTF, which stays.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from gotriage.probes import ARCHITECTURES

PROBES = Path(__file__).parents[2] / "gotriage" / "probes"
OBJECTS = PROBES / "objects"
MADE_WITH = OBJECTS / "made-with"
FLAGS = ["-O2", "-g", "-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function", "-target", "bpf"]
"""-mcpu=v3: 32-bit operations, which every kernel with BTF has (Linux 5.1)."""


def names() -> list[str]:
    """All programs that there are."""
    return sorted(path.name.removesuffix(".bpf.c") for path in PROBES.glob("*.bpf.c"))


def versions() -> str:
    """What decides about the bytes: the compiler's and the headers' versions."""
    clang = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    header = Path("/usr/include/bpf/libbpf_version.h").read_text()
    major, minor = (
        next(line.split()[-1] for line in header.splitlines() if f"LIBBPF_{part}_VERSION " in line)
        for part in ("MAJOR", "MINOR")
    )
    return f"{clang}\nlibbpf {major}.{minor}\n"


def compile_one(name: str, arch: str, target: Path, folder: Path = PROBES) -> None:
    """Compile one program of the folder for one architecture ("x86", "arm64")."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["clang", *FLAGS, f"-D__TARGET_ARCH_{arch}", f"-ffile-prefix-map={folder}=."]
    subprocess.run([*command, "-c", f"{name}.bpf.c", "-o", str(target)], cwd=folder, check=True)
    strip = shutil.which("llvm-strip") or "llvm-strip"
    subprocess.run([strip, "-g", str(target)], check=True)


def main(wanted: list[str]) -> None:
    """Compile those that are named, or all."""
    for name in wanted or names():
        for arch in ARCHITECTURES.values():
            target = OBJECTS / arch / f"{name}.bpf.o"
            compile_one(name, arch, target)
            print(f"{target.relative_to(PROBES)}: {target.stat().st_size:,} bytes")
    MADE_WITH.write_text(versions())


if __name__ == "__main__":
    main(sys.argv[1:])
