"""Writes gotriage/host/callnames/*.txt: names of system calls by number, from the kernel's own headers.

    python -m tests.lab.callnames

x86_64: asm/unistd_64.h; aarch64: asm-generic/unistd.h with what arch/arm64/include/uapi/asm/unistd.h asks of it. Both
are of linux-libc-dev; calls newer than its headers are below.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "gotriage" / "host" / "callnames"
ARM64 = """
#define __ARCH_WANT_RENAMEAT
#define __ARCH_WANT_NEW_STAT
#define __ARCH_WANT_SET_GET_RLIMIT
#define __ARCH_WANT_TIME32_SYSCALLS
#define __ARCH_WANT_SYS_CLONE3
#define __ARCH_WANT_MEMFD_SECRET
#include <asm-generic/unistd.h>
"""
NEWER = (
    "cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr"
    " lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr"
    " file_getattr file_setattr"
)
FIRST_NEWER = 451
"""scripts/syscall.tbl of Linux 6.17: the same numbers for all architectures."""
NEWER_X86 = {335: "uretprobe", 336: "uprobe"}
"""arch/x86/entry/syscalls/syscall_64.tbl of Linux 6.18."""


def defined(text: str) -> dict[int, str]:
    """All __NR_ macros, resolved."""
    with tempfile.NamedTemporaryFile("w", suffix=".c") as file:
        file.write(text)
        file.flush()
        command = ["gcc", "-E", "-dM", file.name]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    macros = dict(re.findall(r"#define (__NR\w+) (\w+)$", lines, re.MULTILINE))
    found = {}
    for name, value in macros.items():
        value = macros.get(value, value)
        if name.startswith("__NR_") and value.isdigit() and name not in ("__NR_syscalls", "__NR_arch_specific_syscall"):
            found[int(value)] = name.removeprefix("__NR_")
    return found


def main() -> None:
    newer = dict(enumerate(NEWER.split(), FIRST_NEWER))
    FOLDER.mkdir(exist_ok=True)
    for arch, text, more in (("x86_64", "#include <asm/unistd_64.h>\n", NEWER_X86), ("aarch64", ARM64, {})):
        names = newer | more | defined(text)
        (FOLDER / f"{arch}.txt").write_text("".join(f"{number} {names[number]}\n" for number in sorted(names)))


if __name__ == "__main__":
    main()
