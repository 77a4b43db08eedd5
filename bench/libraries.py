"""Resolving the libraries of a program with 60 dependencies, beside ldd, in one run.

The program and its 60 small libraries, each with symbol versions of libc, are built here by gcc; both sides must give
the same paths. Ours is timed in process, from opening the file to the tree with versions and shadowed candidates;
`packages` adds the owner of each file, which ldd does not tell. ldd is timed as a process. Rounds are interleaved.

    python bench/libraries.py [--rounds 40] [--program PATH]
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.collectors.libraries import cpu_of
from gotriage.goruntime.elf import Elf
from gotriage.goruntime.ldso import Start
from gotriage.goruntime.linkmap import Tree, resolve
from gotriage.host import Host, packages
from gotriage.host.inroot import InRoot

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 60
CODE = """#include <stdio.h>
#include <stdlib.h>
int f{n}(void) {{ printf("%d", rand()); return abs({n}); }}
"""


def build(folder: Path) -> Path:
    """A chain-and-fan of libraries: each needs the next, the program needs all."""
    rpath = f"-Wl,-rpath,{folder}"
    for n in reversed(range(COUNT)):
        source = folder / f"f{n}.c"
        source.write_text(CODE.format(n=n))
        following = [str(folder / f"libf{n + 1}.so.1")] if n + 1 < COUNT else []
        name = f"libf{n}.so.1"
        words = ["gcc", "-shared", "-fPIC", "-o", folder / name, source, f"-Wl,-soname,{name}", "-Wl,--no-as-needed"]
        subprocess.run([*words, rpath, *following], check=True)
    (folder / "main.c").write_text("int main(void) { return 0; }")
    libraries = [folder / f"libf{n}.so.1" for n in range(COUNT)]
    words = ["gcc", "-o", folder / "program", folder / "main.c", "-Wl,--no-as-needed", rpath, *libraries]
    subprocess.run(words, check=True)
    return folder / "program"


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def measure(program: Path, rounds: int) -> None:
    """Both sides in turn; prints medians and the ratio."""
    start = Start(cpu=cpu_of(Host()))
    root = InRoot("/")

    def ours() -> Tree:
        with Elf(program) as elf:
            return resolve(root, elf, str(program), start)

    def ldd() -> str:
        return subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=True, env={}).stdout

    paths = [node.path for node in ours().nodes if node.path]
    said = set(re.findall(r"(/\S+) \(0x", ldd()))
    if set(paths) != said:
        raise SystemExit(f"the two differ: {set(paths) ^ said}")
    mine, theirs, owners = [], [], []
    for _ in range(rounds):
        mine.append(timed(ours))
        theirs.append(timed(ldd))
        owners.append(timed(lambda: packages.owners(root, paths)))
    print(f"libraries of {program.name}: {len(paths)} files, the same on both sides; medians of {rounds} rounds")
    for name, values in (("gotriage", mine), ("ldd", theirs), ("packages", owners)):
        print(f"  {name:<10}{statistics.median(values):7.2f} ms   ({min(values):.2f} to {max(values):.2f})")
    print(f"  gotriage / ldd = {statistics.median(mine) / statistics.median(theirs):.2f}  (target: at most 1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--program", type=Path, help="instead of the built one")
    given = parser.parse_args()
    if given.program:
        measure(given.program.resolve(), given.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(build(Path(folder)), given.rounds)


if __name__ == "__main__":
    main()
