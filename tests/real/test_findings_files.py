"""Libraries, builds, deleted and forbidden files, tracers and journals of real services."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.folders import let_enter
from tests.lab.process import Start, started, wait_until
from tests.real.checks import check, first, ids, wait_first

pytestmark = pytest.mark.real


# -- files


def test_a_missing_library_of_what_runs(tmp_path):
    binary, library = linked_with_own_library(tmp_path)
    with started(Start(binary, (), ready=False)) as running:
        wait_until(lambda: str(library) in Path(f"/proc/{running.pid}/maps").read_text())
        assert ids("--pid", running.pid) == []
        library.unlink()
        found = first("--pid", running.pid)
    assert (found["id"], found["severity"]) == ("missing-library", "warning")
    assert found["subject"] == "libgotriagetest.so.1"
    assert "the next start fails" in found["title"]


def test_a_missing_library_is_why_it_does_not_start(sdlab, in_lab, tmp_path, unit):
    binary, library = linked_with_own_library(tmp_path)
    path = sdlab.install(binary, "/usr/local/bin/lacks-library")
    library.unlink()
    name = unit(command=path, wait=False)
    sdlab.wait_state(name, "failed")
    found = wait_first("missing-library", in_lab(name))
    assert found["severity"] == "critical"
    assert "start-failure" in found["explains"]


def linked_with_own_library(folder):
    """A program in C that needs a library of its own, in a folder that only its RUNPATH names."""
    (folder / "lib").mkdir()
    library = folder / "lib" / "libgotriagetest.so.1"
    code = folder / "code.c"
    code.write_text("int answer(void) { return 42; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libgotriagetest.so.1", "-o", library, code], check=True)
    code.write_text("#include <unistd.h>\nint answer(void);\nint main(void) { for (;;) sleep(answer()); }\n")
    binary = folder / "waits"
    subprocess.run(["cc", "-o", binary, code, library, f"-Wl,-rpath,{library.parent}"], check=True)
    return binary, library


def test_a_missing_symbol_version(tmp_path):
    (tmp_path / "lib").mkdir()
    library, code, versions = tmp_path / "lib" / "libgotriagever.so.1", tmp_path / "code.c", tmp_path / "versions"
    make = ["cc", "-shared", "-fPIC", "-Wl,-soname,libgotriagever.so.1", f"-Wl,--version-script={versions}"]
    code.write_text("int answer(void) { return 42; }\n")
    versions.write_text("ANSWER_2.0 { global: answer; };\n")
    subprocess.run([*make, "-o", library, code], check=True)
    main = tmp_path / "main.c"
    main.write_text("#include <unistd.h>\nint answer(void);\nint main(void) { for (;;) sleep(answer()); }\n")
    binary = tmp_path / "waits"
    subprocess.run(["cc", "-o", binary, main, library, f"-Wl,-rpath,{library.parent}"], check=True)
    with started(Start(binary, (), ready=False)) as running:
        wait_until(lambda: str(library) in Path(f"/proc/{running.pid}/maps").read_text())
        library.unlink()
        versions.write_text("ANSWER_1.0 { global: answer; };\n")
        subprocess.run([*make, "-o", library, code], check=True)
        found = first("--pid", running.pid)
    assert found["id"] == "symbol-version-missing"
    assert "ANSWER_2.0" in found["title"]


def test_a_build_that_was_replaced(tmp_path, build):
    binary = tmp_path / "svc"
    shutil.copy(build("svc"), binary)
    with started(Start(binary, ())) as running:
        (tmp_path / "new").write_bytes(binary.read_bytes())
        (tmp_path / "new").chmod(0o755)
        (tmp_path / "new").rename(binary)
        found, status = check("--pid", running.pid)
        assert [(finding["id"], finding["severity"]) for finding in found] == [("binary-replaced", "info")]
        assert status == 0
        binary.unlink()
        assert first("--pid", running.pid)["title"].endswith("was deleted since the start: a restart fails")


def test_a_deleted_log_that_is_held(service, tmp_path):
    log = tmp_path / "access.log"
    running = service("svc", f"-deleted-file={log}", "-deleted-bytes=120000000")
    found = first("--pid", running.pid)
    assert found["id"] == "deleted-file-held"
    assert found["evidence"][0].endswith(str(log))
    before = shutil.disk_usage(tmp_path).used
    command = found["fix"].splitlines()[1].partition(": ")[2].removeprefix("if it is a log: ")
    subprocess.run(command[command.index("truncate") :].split(), check=True)
    assert shutil.disk_usage(tmp_path).used < before


def test_a_file_that_may_not_be_read(service, tmp_path):
    let_enter(tmp_path)
    secret = tmp_path / "web.yml"
    secret.write_text("x")
    secret.chmod(0o600)
    running = service("svc", f"-open={secret}", uid=65534)
    running.wait_for(lambda: "permission denied" in running.log)
    found = first("--pid", running.pid)
    assert found["id"] == "permission-denied"
    assert found["title"] == f"{secret}: uid 65534 may not read it"
    assert any("the log says so" in sentence for sentence in found["evidence"])


# -- tracers and logs


def test_one_that_is_traced_already(service):
    running = service("svc", "-tick=100ms")
    tracer = subprocess.Popen(
        ["strace", "-qq", "-f", "-o", "/dev/null", "-p", str(running.pid)], stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{running.pid}/status").read_text())
        found = first("--pid", running.pid)
        assert (found["id"], found["severity"]) == ("already-traced", "warning")
        assert f"strace (pid {tracer.pid})" in found["title"]
    finally:
        tracer.terminate()
        tracer.communicate()
    assert ids("--pid", running.pid) == []


@pytest.fixture
def volatile(sdlab):
    """The lab's journal in memory for a while: Storage=auto without /var/log/journal."""
    sdlab.run("mv", "/var/log/journal", "/var/log/journal.away")
    sdlab.systemctl("restart", "systemd-journald")
    yield
    sdlab.run("mv", "/var/log/journal.away", "/var/log/journal")
    sdlab.systemctl("restart", "systemd-journald")
    sdlab.run("journalctl", "--flush")


def test_a_journal_in_memory(volatile, unit, in_lab):
    name = unit("-tick=200ms")
    found, status = check(*in_lab(name))
    assert [(finding["id"], finding["severity"]) for finding in found] == [("log-volatile", "info")]
    assert status == 0
