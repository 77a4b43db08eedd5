"""Bad input of every kind ends as one clear line or a gap, the contract's exit status, and never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
GOTRIAGE = str(Path(sys.executable).parent / "gotriage")


def gotriage(*words, uid=None, env=None, timeout=40):
    """Run the program as a user would, without a terminal."""
    return subprocess.run(
        [GOTRIAGE, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        user=uid,
        group=uid,
        extra_groups=[] if uid else None,
        env={**os.environ, **(env or {})},
    )


def one_clear_line(done, status, *words):
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def sleeper():
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(["/bin/sleep", "600"], stdin=nowhere, stdout=nowhere, stderr=nowhere)
    yield process
    process.kill()
    process.wait()


def free_pid():
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return process.pid


def test_no_such_pid():
    one_clear_line(gotriage("check", "--pid", free_pid()), 3, "no process")


def test_a_kernel_thread():
    threads = [
        p
        for p in Path("/proc").iterdir()
        if p.name.isdigit() and not os.path.exists(p / "exe") and not (p / "cmdline").read_bytes()
    ]
    kernel = [p.name for p in threads if int((p / "stat").read_bytes().rpartition(b")")[2].split()[6]) & 0x200000]
    assert kernel, "this kernel shows no kernel threads"
    one_clear_line(gotriage("check", "--pid", kernel[0]), 3, "kernel thread")


def test_a_zombie():
    process = subprocess.Popen(["/bin/true"])
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    done = gotriage("check", "--pid", process.pid)
    process.wait()
    one_clear_line(done, 3, "zombie")


def test_no_such_container():
    one_clear_line(gotriage("check", "--container", "no-such-container"), 3, "no-such-container")


def test_no_such_unit_names_near_ones(sdlab):
    done = gotriage("check", "--unit", "systemd-journal", "--root-pid", sdlab.pid)
    one_clear_line(done, 3, "systemd-journal", "systemd-journald.service")


def test_a_process_that_exits_while_we_look(sleeper):
    watching = subprocess.Popen(
        [GOTRIAGE, "check", "--pid", str(sleeper.pid), "--for", "4s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.5)
    sleeper.kill()
    out, err = watching.communicate(timeout=30)
    assert "Traceback" not in out + err
    assert watching.returncode in (0, 1, 2, 3)
    assert "exited" in out + err or "killed" in out + err or "gone" in out + err


def test_a_program_that_is_not_go_works_in_every_view(sleeper):
    for view in ("overview", "limits", "files", "libraries", "environment", "logs"):
        done = gotriage("show", view, "--pid", sleeper.pid, "--json")
        assert done.returncode == 0, (view, done.stderr)
        for line in done.stdout.splitlines():
            json.loads(line)
    done = gotriage("check", "--pid", sleeper.pid)
    assert done.returncode == 0, done.stdout


def test_another_users_process_without_root(sleeper):
    done = gotriage("check", "--pid", sleeper.pid, uid=65534)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2, 77)
    text = done.stdout + done.stderr
    assert "root" in text or "sudo" in text
    done = gotriage("show", "files", "--pid", sleeper.pid, uid=65534)
    assert "permission" in (done.stdout + done.stderr).lower()


def test_what_only_root_may_is_said_once_and_without_python(sleeper):
    with subprocess.Popen(
        [GOTRIAGE, "agent", "--pid", str(sleeper.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        user=65534,
        group=65534,
        extra_groups=[],
    ) as agent:
        records, beats = [], 0
        while beats < 4:
            records.append(json.loads(agent.stdout.readline()))
            beats += records[-1]["kind"] == "heartbeat"
        agent.stdin.close()
        agent.stdout.read()
    gaps = [record for record in records if record["kind"] == "gap" and not record.get("closed")]
    assert {"limits.filesystems", "kernel_log", "file_log"} <= {gap["source"] for gap in gaps}
    for gap in gaps:
        assert "Errno" not in gap["reason"], gap
        assert not ("sudo" in gap["reason"] and gap.get("remedy")), gap
        if "ermission denied" in gap["reason"]:
            assert gap["permission"], gap
            assert gap["remedy"].startswith("run gotriage as root (sudo)"), gap
    (given,) = [record for record in records if record["kind"] == "environment"]
    assert given["masked"] is None
    assert given["unknown"]["env"]["permission"]


def test_another_users_root_does_not_hide_that_it_is_a_matter_of_permission(sleeper):
    done = gotriage("check", "--root-pid", sleeper.pid, "--unit", "web", uid=65534)
    one_clear_line(done, 77, "permission denied", "run gotriage as root (sudo)")


def test_settings_of_somebody_else_are_a_remark(sleeper, tmp_path):
    tmp_path.chmod(0o700)
    done = gotriage("check", "--pid", sleeper.pid, uid=65534, env={"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""})
    assert done.returncode in (0, 1, 2), done.stderr
    assert f"do not count: {tmp_path}/.config/gotriage/config.toml: Permission denied" in done.stderr
    assert done.stdout


def test_a_32_bit_program(tmp_path):
    """An i386 ELF that only pauses: int 0x80 with the number of pause(2)."""
    code = bytes.fromhex("b81d000000cd80ebf7")
    header = (
        b"\x7fELF\x01\x01\x01"
        + bytes(9)
        + (2).to_bytes(2, "little")
        + (3).to_bytes(2, "little")
        + (1).to_bytes(4, "little")
    )
    header += (0x08048054).to_bytes(4, "little") + (52).to_bytes(4, "little") + bytes(4) + bytes(4)
    header += b"".join(n.to_bytes(2, "little") for n in (52, 32, 1, 0, 0, 0))
    size = (84 + len(code)).to_bytes(4, "little")
    segment = (
        b"".join(n.to_bytes(4, "little") for n in (1, 0, 0x08048000, 0x08048000))
        + size
        + size
        + (5).to_bytes(4, "little")
        + (0x1000).to_bytes(4, "little")
    )
    path = tmp_path / "i386"
    path.write_bytes(header + segment + code)
    path.chmod(0o755)
    try:
        process = subprocess.Popen([path])
    except OSError:
        pytest.skip("this kernel runs no 32-bit programs (CONFIG_IA32_EMULATION)")
    try:
        time.sleep(0.2)
        if process.poll() is not None:
            pytest.skip("this kernel runs no 32-bit programs (CONFIG_IA32_EMULATION)")
        done = gotriage("show", "environment", "--pid", process.pid, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[0])["elf_class"] == 32
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def snapshot(sleeper, tmp_path):
    path = tmp_path / "snap.gts.jsonl.zst"
    done = gotriage("snapshot", "--pid", sleeper.pid, "-o", path, "--for", "3s")
    assert done.returncode == 0, done.stderr
    return path


def test_a_snapshot_is_private_and_never_overwrites(snapshot, sleeper):
    assert snapshot.stat().st_mode & 0o777 == 0o600
    one_clear_line(gotriage("snapshot", "--pid", sleeper.pid, "-o", snapshot), 64, str(snapshot), "exists")


def test_damaged_and_foreign_files(snapshot, tmp_path):
    whole = snapshot.read_bytes()
    assert gotriage("show", "overview", "--from", snapshot, "--json").returncode == 0

    cut = tmp_path / "cut"
    cut.write_bytes(whole[:-60])
    done = gotriage("show", "overview", "--from", cut, "--json")
    assert done.returncode == 0
    assert "cut" in done.stderr
    assert done.stdout

    flipped = tmp_path / "flipped"
    middle = len(whole) // 2
    flipped.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0x10]) + whole[middle + 1 :])
    done = gotriage("check", "--from", flipped)
    assert "Traceback" not in done.stderr
    assert "damaged after" in done.stderr
    for size in (len(whole) // 4, len(whole) // 2):
        cut.write_bytes(whole[:size])
        done = gotriage("check", "--from", cut)
        assert done.returncode in (0, 1, 2), done.stderr
        assert "cut after" in done.stderr

    one_clear_line(gotriage("check", "--from", tmp_path / "none"), 3, "none")
    for name, content in {
        "empty": b"",
        "noise": os.urandom(5000),
        "text": b"hello\n",
        "elf": Path("/bin/true").read_bytes(),
    }.items():
        (tmp_path / name).write_bytes(content)
        one_clear_line(gotriage("check", "--from", tmp_path / name), 3, name)
    one_clear_line(gotriage("check", "--from", tmp_path), 3, str(tmp_path))


def test_a_recording_of_a_newer_version(tmp_path):
    path = tmp_path / "newer"
    header = {"kind": "header", "at": "2030-01-01T00:00:00Z", "schema": "1.9", "version": "9.9", "novelty": 1}
    news = {"kind": "telepathy", "at": "2030-01-01T00:00:00Z", "mood": "fine"}
    path.write_text("".join(json.dumps(record) + "\n" for record in (header, news)))
    done = gotriage("check", "--from", path)
    assert done.returncode == 0
    assert "9.9" in done.stderr or "newer" in done.stderr
    path.write_text(json.dumps(header | {"schema": "2.0"}) + "\n")
    one_clear_line(gotriage("check", "--from", path), 3, "2.0")


def test_no_terminal_and_a_dumb_one_give_the_findings_as_text(sleeper):
    done = gotriage("--pid", sleeper.pid)
    assert done.returncode == 0
    assert "No finding" in done.stdout
    assert "no terminal" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    one_clear_line(gotriage(), 64, "no terminal")


def test_a_plain_locale(sleeper):
    done = gotriage("check", "--pid", sleeper.pid, env={"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"})
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away(sleeper):
    done = subprocess.run(
        f"{GOTRIAGE} show files --pid {sleeper.pid} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("file_counts")


def test_ctrl_c_ends_a_recording_cleanly(sleeper, tmp_path):
    path = tmp_path / "r"
    process = subprocess.Popen(
        [GOTRIAGE, "record", "--pid", str(sleeper.pid), "-o", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "wrote" in err
    assert gotriage("check", "--from", path).stderr == ""
