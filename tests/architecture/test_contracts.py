"""The direction of data is kept by machines, and each machine was seen to notice a violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def copy_of_the_house(tmp_path: Path) -> Path:
    house = tmp_path / "house"
    house.mkdir()
    shutil.copytree(ROOT / "gotriage", house / "gotriage", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", house)
    return house


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache"],
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ, PYTHONPATH=str(house)),
    )


def test_the_import_contracts_hold():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


VIOLATIONS = {
    "a lower room imports a higher one": ("gotriage/records/base.py", "import gotriage.session.store", "one way"),
    "a rule imports the renderer": ("gotriage/rules/engine.py", "import gotriage.render.text", "one way"),
    "a collector imports the session": ("gotriage/collectors/process.py", "import gotriage.session.store", "one way"),
    "the command line imports Textual": ("gotriage/render/text.py", "import textual", "Textual"),
    "a collector starts a process itself": ("gotriage/collectors/process.py", "import subprocess", "starts processes"),
    "the screens import a collector": ("gotriage/ui/app.py", "import gotriage.collectors.process", "catalogue's names"),
    "a collector knows another": ("gotriage/collectors/process.py", "import gotriage.collectors.cgroup", "strangers"),
    "a tab knows another": ("gotriage/ui/tabs/limits.py", "import gotriage.ui.tabs.files", "Tabs are strangers"),
}


@pytest.mark.parametrize("violation", VIOLATIONS, ids=str)
def test_a_deliberate_violation_breaks_a_contract(tmp_path, violation):
    path, line, contract = VIOLATIONS[violation]
    house = copy_of_the_house(tmp_path)
    file = house / path
    file.write_text(file.read_text() + f"\n{line}\n")
    done = lint_imports(house)
    assert done.returncode != 0
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert any(contract in text for text in broken), done.stdout


BANNED = {
    "subprocess": "import subprocess\n\nsubprocess.run(['true'])\n",
    "os.system": "import os\n\nos.system('true')\n",
    "time.time": "import time\n\nWHEN = time.time()\n",
    "datetime.datetime.now": "from datetime import UTC, datetime\n\nWHEN = datetime.now(UTC)\n",
}


@pytest.mark.parametrize("name", BANNED)
def test_ruff_refuses_the_banned_calls_outside_host(tmp_path, name):
    house = copy_of_the_house(tmp_path)
    for room, expected in (("collectors", 1), ("host", 0)):
        file = house / "gotriage" / room / "violation.py"
        file.write_text(f'"""A deliberate violation."""\n\n{BANNED[name]}')
        done = subprocess.run(
            [BIN / "ruff", "check", "--select", "TID251", "--no-cache", file],
            cwd=house,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, done.stdout
