"""A target in a file system whose server has gone: gotriage sees the rest, says what hangs, and ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real
GOTRIAGE = [sys.executable, "-m", "gotriage"]


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[int]:
    """A process whose working directory is on a mount that never answers."""
    command = [sys.executable, "-m", "tests.real.hungfs", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_snapshot_is_made_and_ends(stuck: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    own = tmp_path_factory.mktemp("own") / "own.gts.jsonl.zst"
    words = [*GOTRIAGE, "snapshot", "--pid", str(stuck), "-o", str(own), "--for", "12s"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "wrote" in done.stderr
    assert "waits in the kernel for a file system that hangs" in done.stderr
    text = subprocess.run(["zstd", "-dc", str(own)], capture_output=True, timeout=60, check=True).stdout
    records = [json.loads(line) for line in text.splitlines()]
    late = {record["source"] for record in records if "did not answer within" in record.get("reason", "")}
    assert late, "what hangs is said"
    assert {"process", "environment", "files", "cgroup"} <= {record["kind"] for record in records}
