"""Helpers run by absolute path, in a bare environment, bounded in time and output."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from gotriage.errors import MissingFacility
from gotriage.host import tools


def script(folder, name, text, mode=0o755):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def test_path_and_working_folder_of_the_caller_do_not_matter(tmp_path, monkeypatch):
    script(tmp_path, "true", "echo hijacked")
    monkeypatch.setenv("PATH", f"{tmp_path}:.")
    monkeypatch.chdir(tmp_path)
    assert tools.run(["true"]).out == b""


def test_the_environment_is_bare(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD_PROBE", "1")
    lines = set(tools.run(["env"]).out.decode().split("\n"))
    assert "LC_ALL=C" in lines
    assert not any(line.startswith("LD_PRELOAD_PROBE") for line in lines)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_helper_that_others_may_write_is_refused(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(tools, "FOLDERS", (str(tmp_path),))
    script(tmp_path, "helper", "echo x", mode)
    assert os.geteuid() == 0
    assert tools.find("helper") is None
    with pytest.raises(MissingFacility, match="helper is not installed"):
        tools.run(["helper"])


def test_a_helper_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "FOLDERS", (str(tmp_path),))
    os.chown(script(tmp_path, "helper", "echo x"), 65534, 65534)
    assert tools.find("helper") is None


def test_a_helper_that_overstays_is_killed_with_its_children(tmp_path):
    path = script(tmp_path, "slow", f"sleep 60 & echo $! > {tmp_path}/child; echo begun; wait")
    result = tools.run([str(path)], timeout=0.5)
    assert result.timed_out
    assert result.out == b"begun\n"
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        try:
            if Path(f"/proc/{child}/stat").read_text().split(")")[1].split()[0] == "Z":
                break
        except FileNotFoundError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the child lives on")


def test_output_is_bounded(tmp_path):
    result = tools.run([str(script(tmp_path, "flood", "yes"))], limit=100_000, timeout=10)
    assert result.cut
    assert len(result.out) == 100_000


def test_words_are_no_shell(tmp_path):
    assert tools.run(["echo", "$(id)", "; id", "`id`"]).out == b"$(id) ; id `id`\n"


def test_status_and_error_text_come_back(tmp_path):
    result = tools.run([str(script(tmp_path, "fails", "echo why >&2; exit 3"))])
    assert (result.status, result.err) == (3, "why\n")
    with pytest.raises(MissingFacility, match="why"):
        tools.run([str(tmp_path / "fails")], check=True)


def test_standard_input_is_given():
    assert tools.run(["cat"], stdin=b"hello").out == b"hello"
