"""Real services that do not come up or do not stay up: the finding says why."""

from __future__ import annotations

import pytest

from tests.lab.process import wait_until
from tests.real.checks import check, first, wait_first

pytestmark = pytest.mark.real


# -- what does not stay up


def test_an_executable_that_is_not_there(unit, in_lab):
    name = unit(command="/no/such -x", wait=False)
    found = wait_first("start-failure", in_lab(name))
    assert found["title"] == "status 203/EXEC: /no/such cannot be run"
    assert any("No such file or directory" in sentence for sentence in found["evidence"])
    assert found["fix"].startswith("ls -l /no/such")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("User=nobody-of-that-name", "217/USER"),
        ("WorkingDirectory=/no/such", "200/CHDIR"),
        ("LoadCredential=x:/no/such", "243/CREDENTIALS"),
    ],
)
def test_settings_that_cannot_be_applied(unit, in_lab, line, words):
    found = wait_first("start-failure", in_lab(unit("", line, wait=False)))
    assert words in found["title"]
    assert line.partition("=")[0] + "=" in found["title"]


def test_a_service_that_ends_at_once(unit, sdlab, in_lab):
    name = unit("-crash-after=50ms -exit-code=4")
    sdlab.wait_state(name, "failed")
    found = wait_first("start-failure", in_lab(name))
    assert found["title"].endswith("after its start: exited, status 4")
    assert any("cannot reach the database" in sentence for sentence in found["evidence"])


def test_a_crash_loop(unit, sdlab, in_lab):
    name = unit("-crash-after=100ms", "Restart=always", "RestartSec=100ms", "StartLimitIntervalSec=0", wait=False)
    wait_until(lambda: int(sdlab.show(name, "NRestarts")["NRestarts"]) >= 4)
    found = wait_first("crash-loop", in_lab(name))
    assert found["severity"] == "critical"
    assert any("status=3" in sentence or "status 3" in sentence for sentence in found["evidence"]), found


def test_a_service_that_systemd_gave_up(unit, sdlab, in_lab):
    name = unit("-crash-after=50ms", "Restart=always", "RestartSec=50ms", wait=False)
    sdlab.wait_state(name, "failed")
    found = wait_first("crash-loop", in_lab(name))
    assert found["title"].startswith("given up after ")
    assert "not-running" in found["explains"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nil", "nil pointer dereference in main.total (faults.go:"),
        ("index", "index out of range [-1] in main.total (faults.go:"),
        ("fatal", "fatal error: concurrent map writes in main.failHard"),
        ("custom", "panic: svc: custom in main.failHard (faults.go:"),
    ],
)
def test_a_panic(unit, sdlab, in_lab, kind, words):
    name = unit(f"-panic=100ms -panic-kind={kind}", wait=False)
    sdlab.wait_state(name, "failed")
    found = wait_first("panic", in_lab(name))
    assert found["severity"] == "critical"
    assert words in found["title"]
    assert found["since"] is not None
    assert "start-failure" in found["explains"]


def test_a_unit_that_was_stopped_is_only_worth_knowing(unit, sdlab, in_lab):
    name = unit("")
    sdlab.systemctl("stop", name)
    found, status = check(*in_lab(name))
    assert status == 0
    assert [(finding["id"], finding["severity"]) for finding in found] == [("not-running", "info")]


def test_a_container_that_cannot_start(docker, build, sdlab):
    image = docker.image(build("svc"))
    docker.cli("create", "--name", "broken", "--network=none", "--entrypoint", "/nope", image)
    docker.containers.append("broken")
    docker.cli("start", "broken", check=False)
    found = first("--root-pid", sdlab.pid, "--container", "broken")
    assert (found["id"], found["severity"]) == ("start-failure", "critical")
    assert "/nope" in found["title"]


def test_a_container_that_restarts(docker, build, sdlab):
    docker.run("loop", docker.image(build("svc")), "-crash-after=20ms", options=("--restart=always",))
    wait_until(lambda: docker.inspect("loop")["RestartCount"] >= 3)
    found, status = check("--root-pid", sdlab.pid, "--container", "loop")
    assert found[0]["id"] == "crash-loop"
    assert status in (1, 2)
    assert "docker logs --tail 50 loop" in found[0]["fix"]
