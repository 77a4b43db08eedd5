"""Damaged memory of a real process, read as if it were in order: an answer or our error, in bounded time and room.

The file side of it is in test_pclntab.py, test_elf.py and test_core.py; `damaging.py` breaks files beside memory too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.toolchain import QUICK, VERSIONS

ROOT = Path(__file__).parents[2]
SEVERAL = ["-n=40", "-churn=200"]


def damaged(running, seed, most):
    """Read `most` bytes of damaged memory in a child; (rounds, questions that were answered)."""
    words = [sys.executable, "-m", "tests.goruntime.damaging", str(running.pid), str(seed), str(most)]
    child = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = child.stdout.splitlines()
    before, _, failure = child.stdout.partition("FAILED")
    assert not failure, f"seed {seed}: {before.splitlines()[-1:]} {failure[:6000]}"
    assert child.returncode == 0, f"seed {seed}: status {child.returncode} in {lines[-1:]}: {child.stderr[-2000:]}"
    _, rounds, answered, _, served = lines[-1].split()
    assert int(served) >= most
    return int(rounds), int(answered)


@pytest.mark.real
@pytest.mark.parametrize("go", QUICK)
def test_damaged_memory(service, go):
    rounds, answered = damaged(service("parked", *SEVERAL, go=go), 1, 60 << 20)
    assert answered > rounds / 2


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("go", VERSIONS)
@pytest.mark.parametrize("seed", range(2, 6))
def test_much_damaged_memory(service, go, seed):
    """Each of them is more than the 100 million bytes that were promised."""
    rounds, answered = damaged(service("parked", *SEVERAL, go=go), seed, 1 << 30)
    assert answered > rounds / 2
