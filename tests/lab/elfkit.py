"""Small programs and libraries made by the C compiler, and what the real loader says about them: the oracle."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.goruntime.elf import Elf
from gotriage.goruntime.linkmap import Node, Tree, resolve
from gotriage.host.inroot import InRoot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gotriage.goruntime.ldso import Start

GLIBC = "/lib64/ld-linux-x86-64.so.2"
OLD = "-Wl,--disable-new-dtags"
"""Makes -rpath write DT_RPATH instead of DT_RUNPATH."""

_FOUND = re.compile(r"^\t(?:(\S+) => )?(\S+) \(0x[0-9a-f]+\)$")
_MISSING = re.compile(r"^\t(\S+) => not found$")
_VERSION = re.compile(r"version `(\S+)' not found \(required by (\S+)\)")


@dataclass
class Traced:
    """What the loader says: (name, path or None) in load order, and (version, asker) that are not provided."""

    rows: list[tuple[str, str | None]]
    versions: list[str]
    text: str


@dataclass
class Kit:
    """Builds below `folder`, with `compiler`."""

    folder: Path
    compiler: str = "gcc"

    def library(
        self, path: str, needs: Sequence[str] = (), *flags: str, soname: str | None = "", versions: str = ""
    ) -> Path:
        """A shared library at `path` that needs other libraries (paths); soname None leaves it out."""
        target = self.folder / path
        stem = re.sub(r"\W", "_", path)
        source = f"int f_{stem}(void) {{ return 1; }}\n"
        if versions:
            names = versions.split()
            source = "".join(f"int {name.lower()}_f(void) {{ return 1; }}\n" for name in names)
            script = self._write(f"{stem}.map", "".join(f"{n} {{ global: {n.lower()}_f; }};\n" for n in names))
            flags = (*flags, f"-Wl,--version-script={script}")
        if soname is not None:
            flags = (*flags, f"-Wl,-soname,{soname or target.name}")
        return self._compile(target, source, ["-shared", "-fPIC", *flags], needs)

    def program(self, path: str, needs: Sequence[str] = (), *flags: str, body: str = "return 0;") -> Path:
        """A program at `path`."""
        return self._compile(self.folder / path, f"int main(void) {{ {body} }}\n", list(flags), needs)

    def _compile(self, target: Path, source: str, flags: list[str], needs: Sequence[str]) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        code = self._write(f"{target.name}.c", source)
        libraries = [str(self.folder / need) for need in needs]
        line = [self.compiler, "-w", "-o", str(target), str(code), "-Wl,--no-as-needed", *flags, *libraries]
        line += ["-Wl,--allow-shlib-undefined", "-Wl,--unresolved-symbols=ignore-in-shared-libs"]
        subprocess.run(line, check=True, capture_output=True, text=True, cwd=self.folder)
        return target

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / "src" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path


def traced(program: Path, env: dict[str, str] | None = None, cwd: str = "/") -> Traced:
    """Ask glibc's loader, which loads the libraries and ends before it starts the program."""
    whole = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "1", "LD_BIND_NOW": "", **(env or {})}
    done = subprocess.run([program], env=whole, cwd=cwd, capture_output=True, text=True, timeout=20, check=False)
    rows: list[tuple[str, str | None]] = []
    for line in done.stdout.splitlines():
        if "vdso" in line:
            continue
        if match := _MISSING.match(line):
            rows.append((match[1], None))
        elif match := _FOUND.match(line):
            rows.append((match[1] or match[2], match[2]))
    text = done.stdout + done.stderr
    return Traced(rows, [f"{v} asked by {a}" for v, a in _VERSION.findall(text)], text)


def ours(program: Path | str, start: Start, root: str = "/") -> Tree:
    """Our own answer to the same question."""
    with InRoot(root) as inside, inside.opened(str(program)) as fd, Elf(fd) as elf:
        return resolve(inside, elf, inside.real(str(program)), start)


def rows_of(tree: Tree) -> list[tuple[str, str | None]]:
    """The tree as the loader prints it: itself by its path, others by the name they were first asked for."""
    nodes = [node for node in tree.nodes if not node.error]
    return [((node.path or "") if node.rule == "interpreter" else _short(node), node.path) for node in nodes]


def _short(node: Node) -> str:
    return node.path or "" if node.rule == "preload" and "/" in node.name else node.name


def relative(path: str, cwd: str) -> str:
    """A path as the loader prints it for a relative search folder, made absolute."""
    return os.path.normpath(os.path.join(cwd, path))
