"""Fixtures of the tests against real parts."""

from __future__ import annotations

import pytest


@pytest.fixture
def quick(tmp_path):
    """Settings under which a leak is told after twelve seconds instead of thirty, from the start of the process on.

    Not sooner: each sixth of the window must see a look, and looks come once a second, later on a busy machine.
    """
    file = tmp_path / "config.toml"
    file.write_text("[thresholds.fd-leak]\nseconds = 12\ngrace = 0\n[thresholds.thread-explosion]\nseconds = 12\n")
    return ("--config", file, "--for", "17s")


@pytest.fixture
def in_lab(sdlab):
    """The words that name a unit of the lab."""

    def words(unit):
        sdlab.run("journalctl", "--sync")
        return ("--root-pid", sdlab.pid, "--unit", unit)

    return words
