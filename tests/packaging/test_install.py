"""The installer, run for real in a throw-away overlay of this machine's root: it comes, it upgrades, it goes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THROWAWAY = ROOT / "tests/lab/throwaway"
INSTALL = ROOT / "packaging/install.sh"

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def in_throwaway(tmp_path: Path, script: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What the script printed, and which paths of the machine it left changed."""
    report = tmp_path / "report"
    command = [THROWAWAY, report, "/bin/sh", "-euc", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done, report.read_text().split()


def test_install_use_upgrade_and_uninstall_leaves_nothing(tmp_path):
    script = f"""
    {INSTALL} --minimal
    echo "isolated: $(head -n 1 /opt/gotriage/bin/gotriage)"
    mkdir /tmp/trap && cd /tmp/trap
    for name in textual msgspec gotriage; do echo 'raise SystemExit("hijacked")' >$name.py; done
    echo "user: $(PYTHONPATH=/tmp/trap setpriv --reuid 65534 --clear-groups gotriage --version)"
    echo "sudo: $(sudo -n gotriage --version)"
    cd / && rm -r /tmp/trap
    echo "foreign: $(find /opt/gotriage ! -user root -o -perm /022 ! -type l)"
    touch /opt/gotriage/venv/of-the-old-one
    sudo -n {INSTALL} --minimal
    echo "upgraded: $(ls /opt/gotriage /opt/gotriage/venv | tr '\\n' ' ')"
    {INSTALL} --uninstall
    {INSTALL} --uninstall
    ! gotriage --version 2>/dev/null
    """
    done, left = in_throwaway(tmp_path, script)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert said["isolated"] == "#!/opt/gotriage/venv/bin/python -I"
    assert said["user"] == said["sudo"]
    assert said["sudo"].startswith("gotriage ")
    assert said["foreign"] == ""
    assert "of-the-old-one" not in said["upgraded"]
    assert "venv.old" not in said["upgraded"]
    assert "Removed /opt/gotriage" in done.stdout
    assert [path for path in left if not path.startswith(("/run/sudo", "/var/lib/sudo"))] == []


STRANGERS = {
    "a folder": "mkdir /opt/gotriage",
    "a command": "mkdir -p /usr/local/bin && echo x >/usr/local/bin/gotriage",
    "a link": "mkdir -p /usr/local/bin && ln -s /bin/true /usr/local/bin/gotriage",
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_others_made_is_left_alone(tmp_path, stranger):
    script = f"{STRANGERS[stranger]}; ! {INSTALL} --minimal; {INSTALL} --uninstall || :"
    done, left = in_throwaway(tmp_path, script)
    assert done.returncode == 0
    assert "move it away" in done.stderr
    assert left == (["/opt/gotriage"] if stranger == "a folder" else ["/usr/local/bin/gotriage"])


def test_without_root_it_says_what_to_type():
    command = ["setpriv", "--reuid", "65534", "--clear-groups", INSTALL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("install.sh: needs root: sudo ")


def test_a_failed_installation_leaves_nothing(tmp_path):
    """The registry cannot be reached: no half of an installation stays."""
    done, left = in_throwaway(tmp_path, f"! PIP_INDEX_URL=http://127.0.0.1:9/ PIP_RETRIES=0 PIP_CONFIG_FILE=/dev/null "
                                        f"PIP_FIND_LINKS= {INSTALL} --minimal")  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "pip failed" in done.stderr
    assert left == []
