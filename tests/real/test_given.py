"""What a real process was given, and what it may not use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from gotriage.collectors.access import AccessCollector
from gotriage.collectors.environment import EnvironmentCollector
from gotriage.host.given import given_paths, needs_of

from tests.lab.folders import let_enter
from tests.real.targets import target_of

pytestmark = pytest.mark.real
WAIT = "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()"


@pytest.fixture
def process():
    """Start processes; all are ended."""
    started = []

    def start(words, **more):
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        started.append(child)
        assert child.stdout.read(2) == b"up"
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


def look(collector, pid):
    target = target_of(pid)
    (record,) = collector(target.host, target).collect()
    return record


def python(*arguments):
    return [sys.executable, "-c", WAIT, *map(str, arguments)]


def test_secrets_are_masked_and_names_stay(process):
    child = process(python("--password=hunter22", "--listen=:80"), env={"DB_PASSWORD": "geheim-123", "MODE": "prod"})
    seen = look(EnvironmentCollector, child.pid)
    text = str(seen)
    assert "hunter22" not in text
    assert "geheim-123" not in text
    assert seen.env["MODE"] == "prod"
    assert "DB_PASSWORD" in seen.env
    assert "--listen=:80" in seen.argv
    assert seen.masked == 1


def test_hostile_arguments_are_clean(process):
    child = process(python("\x1b]0;owned\x07", "a\nb"), env={"X\x1b[31m": "\x9b31m\u202e"})
    seen = look(EnvironmentCollector, child.pid)
    assert all(word.isprintable() for word in (*seen.argv, *seen.env, *seen.env.values()))


def test_identity_streams_and_namespaces(process, tmp_path):
    with (tmp_path / "err.log").open("w") as log:
        child = process(python(), stderr=log, user=65534, group=65534, extra_groups=[4])
    seen = look(EnvironmentCollector, child.pid)
    assert seen.uid == (65534,) * 4
    assert seen.user == "nobody"
    assert seen.groups == (4,)
    assert seen.capabilities == ()
    assert [stream.type for stream in seen.streams] == ["pipe", "pipe", "file"]
    assert f"({os.getpid()})" in seen.streams[1].goes_to
    assert seen.streams[2].goes_to == str(tmp_path / "err.log")
    assert seen.namespaces == seen.host_namespaces
    assert seen.is_go is False
    assert seen.elf_class == 64


def test_a_binary_that_was_replaced_or_removed(process, tmp_path):
    binary = tmp_path / "service"
    shutil.copy("/bin/cat", binary)
    child = subprocess.Popen([binary], stdin=subprocess.PIPE)
    try:
        time.sleep(0.1)
        seen = look(EnvironmentCollector, child.pid)
        assert (seen.exe, seen.exe_deleted, seen.exe_replaced) == (str(binary), False, False)
        binary.unlink()
        seen = look(EnvironmentCollector, child.pid)
        assert (seen.exe, seen.exe_deleted, seen.exe_replaced) == (str(binary), True, None)
        shutil.copy("/bin/true", binary)
        assert look(EnvironmentCollector, child.pid).exe_replaced is True
    finally:
        child.kill()
        child.wait()


def test_a_config_that_its_user_may_not_read(process, tmp_path):
    let_enter(tmp_path)
    config, data = tmp_path / "app.yaml", tmp_path / "data"
    config.write_text("x")
    config.chmod(0o600)
    data.mkdir(mode=0o755)
    child = process(
        python(f"--config={config}", "--data-dir", data, "--web.static", data), user=65534, group=65534, extra_groups=[]
    )
    seen = look(AccessCollector, child.pid)
    assert [(problem.path, problem.needs, problem.owner) for problem in seen.problems] == [
        (str(config), "r", "root:root"),
        (str(data), "wx", "root:root"),
    ]
    assert "uid 65534 may not read it" in seen.problems[0].reason
    config.chmod(0o644)
    os.chown(data, 65534, 65534)
    assert look(AccessCollector, child.pid).problems == ()


def test_who_dropped_root_after_reading_is_no_problem(process, tmp_path):
    config = tmp_path / "app.yaml"
    config.write_text("x")
    config.chmod(0o600)
    drop = "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)"
    code = f"import os; open({str(config)!r}).read(); os.chdir('/'); {drop}; {WAIT}"
    child = process([sys.executable, "-c", code, f"--config={config}"])
    assert look(AccessCollector, child.pid).problems == ()


def test_paths_in_arguments_and_variables():
    argv = ["svc", "-c", "/etc/a", "--log=/var/log/b", "http://x/y", "relative", "--", "/c"]
    env = {"CONFIG_FILE": "/etc/d", "PIP_CERT": "/root/e", "HOME": "/root", "EDITOR_DIR": "/f"}
    found = {(given.path, given.name) for given in given_paths(argv, env, "/work")}
    assert found == {("/work", "cwd"), ("/etc/a", "c"), ("/var/log/b", "log"), ("/c", ""), ("/etc/d", "CONFIG_FILE")}


def test_what_a_path_is_for():
    (given,) = given_paths(["svc", "--storage.tsdb.path=/d"], {}, "")
    assert needs_of(given, 0o040755) == "wx"
    (given,) = given_paths(["svc", "--web.static-data=/d"], {}, "")
    assert needs_of(given, 0o040755) == "x"
    assert needs_of(given, 0o100644) == "r"
    assert needs_of(given, 0o140755) == ""
