"""What engines say and store, from recordings of docker 20.10 and podman 4.3."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gotriage.host import engine_parse
from gotriage.host.engine_parse import inspected, labels, listed, parse_time, sandbox, stored, task

FIXTURES = Path(__file__).parents[1] / "fixtures"


def fixture(name):
    return json.loads((FIXTURES / name).read_text())


def test_an_inspect_answer_of_docker():
    state = inspected("docker", fixture("docker/20.10/inspect.json"))
    assert (state.name, state.status, state.exit_code, state.oom_killed) == ("web-1", "running", 0, False)
    assert len(state.id) == 64
    assert state.pid
    assert state.started_at.year == 2026
    assert state.finished_at is None
    assert (state.log_driver, state.network_mode, state.restart_policy) == ("json-file", "none", "no")
    assert state.log_path.endswith("-json.log")
    assert (state.memory_limit_bytes, state.cpu_quota, state.pids_limit) == (None, None, None)


def test_dockers_state_files_say_the_same_as_its_api():
    by_api = inspected("docker", fixture("docker/20.10/inspect.json"))
    by_files = inspected("docker", fixture("docker/20.10/config.v2.json"), fixture("docker/20.10/hostconfig.json"))
    assert engine_parse.changed(by_files, at=by_api.at) == by_api


def test_a_row_of_the_list():
    (row,) = fixture("docker/20.10/list.json")
    state = listed("docker", row)
    assert (state.name, state.status, state.source, state.pid) == ("web-1", "running", "api", None)


def test_podmans_files():
    (row,) = fixture("podman/4.3/containers.json")
    state = stored(row, fixture("podman/4.3/config.json"), 77)
    assert (state.engine, state.name, state.pid, state.source) == ("podman", "web-2", 77, "files")
    assert state.image == "localhost/svc-svc-1.27.3-e8d9eb7d33a1:latest"


def test_crio_keeps_the_same_files():
    spec = {"annotations": {"io.container.manager": "cri-o", "io.kubernetes.pod.name": "p"}}
    state = stored({"id": "1" * 64, "names": ["k8s_p"]}, spec, None)
    assert (state.engine, state.labels["io.kubernetes.pod.name"]) == ("cri-o", "p")


def test_a_containerd_task_of_kubernetes():
    notes = {
        "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-name": "orders-7d9",
        "io.kubernetes.cri.container-name": "api",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.image-name": "registry/orders:1",
    }
    limits = {"memory": {"limit": 1 << 29}, "cpu": {"quota": 150_000, "period": 100_000}, "pids": {"limit": 0}}
    state = task("k8s.io", "a" * 64, {"annotations": notes, "linux": {"resources": limits}}, 5)
    assert (state.engine, state.name, state.image) == ("containerd", "api", "registry/orders:1")
    assert (state.memory_limit_bytes, state.cpu_quota, state.pids_limit) == (1 << 29, 1.5, None)
    assert state.labels["io.kubernetes.pod.namespace"] == "shop"
    assert state.labels["io.kubernetes.pod.name"] == "orders-7d9"
    assert not sandbox(state)
    pause = task("k8s.io", "b" * 64, {"annotations": {"io.kubernetes.cri.container-type": "sandbox"}}, 6)
    assert sandbox(pause)


def test_a_task_of_docker_and_one_of_nerdctl():
    assert task("moby", "a" * 64, {}, 1).engine == "docker"
    assert task("default", "b" * 64, {"annotations": {"nerdctl/name": "web"}}, 1).name == "web"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({"Running": True, "Paused": True}, "paused"),
        ({"Running": True}, "running"),
        ({"Running": True, "Restarting": True}, "restarting"),
        ({"Running": False, "StartedAt": "0001-01-01T00:00:00Z"}, "created"),
        ({"Running": False, "StartedAt": "2026-11-23T20:00:00Z"}, "exited"),
        ({"Dead": True}, "dead"),
        ({}, ""),
    ],
)
def test_the_status_by_the_flags_of_the_state_file(state, word):
    assert inspected("docker", {"ID": "1", "State": state}).status == word


@pytest.mark.parametrize(
    ("limits", "cpus"),
    [
        ({"NanoCpus": 1_500_000_000}, 1.5),
        ({"CpuQuota": 50_000}, 0.5),
        ({"CpuQuota": 50_000, "CpuPeriod": 25_000}, 2.0),
        ({"CpuQuota": -1}, None),
        ({}, None),
    ],
)
def test_the_cpu_quota(limits, cpus):
    assert inspected("docker", {"HostConfig": limits}).cpu_quota == cpus


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-23T20:29:21.962983941Z", datetime(2026, 11, 23, 20, 29, 21, 962983, UTC)),
        ("2026-11-23T20:29:21+01:00", datetime(2026, 11, 23, 19, 29, 21, 0, UTC)),
        ("2026-11-23T20:29:21.5Z", datetime(2026, 11, 23, 20, 29, 21, 500_000, UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("2026-13-45T20:29:21Z", None),
        ("soon", None),
        (None, None),
        (7, None),
    ],
)
def test_times(text, time):
    assert parse_time(text) == time


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"State": [], "Config": 7, "HostConfig": "x", "Name": None, "RestartCount": "many"},
        {"State": {"Pid": "7", "ExitCode": True, "OOMKilled": "yes", "Health": 3}, "Name": ["/x"]},
        {"State": {"Pid": 1 << 80}, "Config": {"Labels": {"a": {"b": 1}, "\x1b": "\x1b[2J"}}},
    ],
)
def test_rubbish_is_unknown_and_no_error(found):
    state = inspected("docker", found)
    assert (state.pid, state.exit_code, state.oom_killed, state.restart_count) == (None, None, None, None)
    assert "\x1b" not in repr(state)


def test_labels_are_bounded_and_those_of_kubernetes_stay():
    many = {f"label-{number:04}": "x" * 5000 for number in range(5000)} | {"io.kubernetes.pod.name": "p"}
    found = labels(many)
    assert len(found) == engine_parse.MAX_LABELS
    assert found["io.kubernetes.pod.name"] == "p"
    assert max(map(len, found.values())) <= engine_parse.MAX_LABEL
