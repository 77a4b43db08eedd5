"""`gotriage check` as a user runs it, for the tests of findings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.lab import toolchain
from tests.lab.process import Start, started, wait_until

GOTRIAGE = str(Path(sys.executable).parent / "gotriage")
CGROUP = Path("/sys/fs/cgroup")


def check(*words):
    """`gotriage check --json`: the findings, the first one first, and the exit status."""
    done = subprocess.run(
        [GOTRIAGE, "check", "--json", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode in (0, 1, 2), done.stderr
    return [found, done.returncode]


def first(*words):
    """The first finding; its severity must fit the exit status."""
    found, status = check(*words)
    assert found, "no finding"
    assert status == {"critical": 2, "warning": 1, "info": 0}[found[0]["severity"]]
    return found[0]


def ids(*words):
    return [finding["id"] for finding in check(*words)[0]]


def wait_first(rule, words, tries=4):
    """The first finding, which has to be the rule's; for what needs a moment to become ill, or even sampling."""
    for _ in range(tries):
        found, _ = check(*words)
        if found and found[0]["id"] == rule:
            return found[0]
    raise AssertionError((rule, found))


@contextmanager
def own_cgroup(controller, **settings):
    """A v1 cgroup of the test's own."""
    top = CGROUP / controller
    assert (top / "cgroup.procs").exists(), f"this kernel has no cgroup v1 hierarchy of {controller}"
    path = top / f"gotriage-findings-{os.getpid()}"
    path.mkdir(exist_ok=True)
    try:
        for name, value in settings.items():
            (path / name.replace("__", ".")).write_text(str(value))
        yield path
    finally:
        wait_until(lambda: not (path / "cgroup.procs").read_text().strip())
        path.rmdir()


@contextmanager
def started_in(group, *arguments):
    """svc in a cgroup from its first instruction on."""
    enter = ("/bin/sh", "-c", f'echo $$ >"{group}/cgroup.procs" && exec "$0" "$@"')
    with started(Start(toolchain.build("svc"), arguments, wrapper=enter)) as running:
        yield running
