"""Containers of real engines: answering, hung, dead; seen from inside the lab and from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from gotriage.host import Host
from gotriage.records.target import TargetSpec
from gotriage.target.resolve import refresh, release, resolve
from gotriage.target.state import state_of

from tests.lab.process import wait_until
from tests.lab.toolchain import build
from tests.real.look import inside, look

pytestmark = pytest.mark.real

LONGEST = 4.0
"""Seconds that resolving may take whatever hangs: its own limit is 2.8."""


def both(lab, reference, **more):
    """The container from outside; what is seen inside is the same but for PIDs and cgroup paths."""
    out = look("container", reference, root_pid=lab.pid, **more)
    within = inside(lab, "container", reference, **more)
    for key in ("name", "state", "container_id", "container_name", "engine", "reason", "error", "type", "comm"):
        assert out.get(key) == within.get(key), key
    if out.get("cgroup"):
        assert out["cgroup"] == f"/sdlab-{lab.name}{within['cgroup']}"
    return out


def events_until(target, what, seconds=15.0):
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        found += refresh(target)
        if any(event.what == what for event in found):
            return found
        time.sleep(0.05)
    raise TimeoutError(f"no {what} in {seconds} s: {found}")


@pytest.fixture
def web(engine):
    """A container of each engine in turn: engine, id."""
    return engine, engine.run("test-web", engine.image(build("svc")), "-tick=1s")


def test_by_id_prefix_and_name(sdlab, web):
    engine, full = web
    pid = engine.pid("test-web")
    for reference in (full, full[:12], full[:3], "test-web", "/test-web", f"{engine.name}://test-web"):
        seen = look("container", reference, root_pid=sdlab.pid)
        assert (seen["pid"], seen["container_id"], seen["container_name"]) == (pid, full, "test-web"), reference
        assert seen["engine"] == engine.name
    seen = both(sdlab, "test-web", collect=("container",))
    assert full in seen["cgroup"]
    assert list(seen["pids"]) == [pid]
    assert seen["go"]["version"].startswith("go1.")
    state = seen["container records"][-1]
    assert (state["id"], state["name"], state["pid"], state["status"]) == (full, "test-web", pid, "running")


def test_a_pid_knows_its_container(sdlab, web):
    engine, full = web
    seen = look("pid", str(engine.pid("test-web")), collect=("container",))
    assert (seen["container_id"], seen["engine"]) == (full, engine.name)
    assert seen.get("unit") is None


def test_ambiguous_and_unknown_references(sdlab, docker, podman):
    image = docker.image(build("svc"))
    ids = [docker.run(f"test-{number}", image, "-tick=1s") for number in range(17)]
    seen = {}
    for full in ids:  # 17 ids, 16 first digits: two begin alike
        if full[0] in seen:
            break
        seen[full[0]] = full
    found = both(sdlab, full[0])
    assert found["type"] == "AmbiguousTarget"
    assert full[:20] in found["error"]
    assert seen[full[0]][:20] in found["error"]
    podman.run("test-3", podman.image(build("svc")), "-tick=1s")
    found = both(sdlab, "test-3")
    assert found["type"] == "AmbiguousTarget"
    assert "docker://" in found["error"]
    assert "podman://" in found["error"]
    assert both(sdlab, "docker://test-3")["engine"] == "docker"
    found = both(sdlab, "tset-12")
    assert (found["type"], found["exit_code"]) == ("NoSuchTarget", 3)
    assert "near: test-12" in found["error"]


def test_a_stopped_container_says_why(sdlab, docker):
    docker.run("test-dead", docker.image(build("svc")), "-crash-after=10ms", "-exit-code=3")
    docker.cli("wait", "test-dead")
    seen = both(sdlab, "test-dead", collect=("container",))
    assert (seen["state"], seen.get("pid")) == ("stopped", None)
    assert seen["reason"] == "exited: status 3"
    state = seen["container records"][-1]
    assert (state["status"], state["exit_code"], state.get("pid")) == ("exited", 3, None)
    docker.run("test-killed", docker.image(build("svc")), "-tick=1s")
    docker.cli("kill", "test-killed")
    docker.cli("wait", "test-killed")
    assert both(sdlab, "test-killed")["reason"] == "exited: status 137 (SIGKILL)"


def test_limits_and_labels(sdlab, docker):
    options = ("--label", "team=orders", "--log-driver=journald", "--restart=on-failure:4")
    docker.run("test-rich", docker.image(build("svc")), "-tick=1s", options=options)
    state = look("container", "test-rich", root_pid=sdlab.pid, collect=("container",))["container records"][-1]
    assert state["labels"] == {"team": "orders"}
    assert (state["log_driver"], state["restart_policy"], state["network_mode"]) == ("journald", "on-failure:4", "none")
    assert state["source"] == "api"


def test_a_restart_is_followed(sdlab, web):
    engine, full = web
    target = resolve(TargetSpec("container", "test-web", root_pid=sdlab.pid), Host.of(sdlab.pid))
    try:
        old = target.pid
        engine.cli("restart", "-t", "0", "test-web")
        events_until(target, "restarted")
        assert target.pid == engine.pid("test-web") != old
        assert target.generation == 2
        engine.cli("stop", "-t", "0", "test-web")
        events_until(target, "exited")
        assert state_of(target).state == "stopped"
        engine.cli("start", "test-web")
        events_until(target, "restarted")
        assert (target.pid, target.generation) == (engine.pid("test-web"), 3)
        assert target.container.id == full
    finally:
        release(target)


def test_a_container_made_anew_under_its_name_is_followed(sdlab, docker):
    image = docker.image(build("svc"))
    docker.run("test-anew", image, "-tick=1s")
    target = resolve(TargetSpec("container", "test-anew", root_pid=sdlab.pid), Host.of(sdlab.pid))
    try:
        second = docker.run("test-anew", image, "-tick=1s")
        events_until(target, "restarted")
        assert (target.container.id, target.pid) == (second, docker.pid("test-anew"))
    finally:
        release(target)


def test_a_pod_by_its_labels(sdlab, docker):
    labels = {"namespace": "shop", "name": "orders-7d9"}
    image = docker.image(build("svc"))
    for container in ("api", "proxy"):
        options = [f"--label=io.kubernetes.pod.{key}={value}" for key, value in labels.items()]
        options.append(f"--label=io.kubernetes.container.name={container}")
        docker.run(f"test-k8s-{container}", image, "-tick=1s", options=tuple(options))
    assert both(sdlab, "shop/orders-7d9/api")["container_name"] == "test-k8s-api"
    found = both(sdlab, "shop/orders-7d9")
    assert found["type"] == "AmbiguousTarget"
    assert "shop/orders-7d9/proxy" in found["error"]
    found = both(sdlab, "shop/order-7d9/api")
    assert (found["type"], "near: shop/orders-7d9/api" in found["error"]) == ("NoSuchTarget", True)


# -- the engine hangs or is dead


def test_a_hung_engine_costs_its_deadline_and_the_files_tell(sdlab, docker):
    full = docker.run("test-hung", docker.image(build("svc")), "-tick=1s")
    pid, daemon = docker.pid("test-hung"), sdlab.main_pid("docker.service")
    os.kill(daemon, signal.SIGSTOP)
    try:
        seen = both(sdlab, "test-hung", collect=("container",))
        assert (seen["pid"], seen["container_id"]) == (pid, full)
        assert seen["took"] < LONGEST
        assert seen["container took"] < LONGEST
        assert "does not answer within" in seen["events"][0][1]
        gap, state = seen["container records"]
        assert (gap["kind"], gap["source"]) == ("gap", "container.engine")
        assert (state["source"], state["pid"], state["log_driver"]) == ("files", pid, "json-file")
        seen = look("container", "test-hnug", root_pid=sdlab.pid)
        assert "near: test-hung" in seen["error"]
        assert "does not answer within" in seen["error"]
        assert seen["took"] < LONGEST
    finally:
        os.kill(daemon, signal.SIGCONT)


def test_a_dead_engine_is_not_woken_and_files_and_cgroup_tell(sdlab, docker):
    """docker.socket would start dockerd anew when we connected, and end the container that is looked at."""
    full = docker.run("test-orphan", docker.image(build("svc")), "-tick=1s")
    pid = docker.pid("test-orphan")
    config = sdlab.root / f"var/lib/docker/containers/{full}/config.v2.json"
    sdlab.systemctl("kill", "-s", "KILL", "--kill-who=main", "docker.service")
    sdlab.systemctl("stop", "docker.service")
    try:
        assert sdlab.systemctl("is-active", "docker.socket") == "active"
        seen = both(sdlab, "test-orphan", collect=("container",))
        assert (seen["pid"], seen["container_name"]) == (pid, "test-orphan")
        assert "dockerd does not run" in seen["events"][0][1]
        assert seen["container records"][-1]["source"] == "files"
        text = config.read_text()
        config.unlink()
        task = sdlab.root / f"run/containerd/io.containerd.runtime.v2.task/moby/{full}"
        task.rename(task.with_name("elsewhere"))
        try:
            seen = both(sdlab, full[:9], collect=("container",))
            assert (seen["pid"], seen["container_id"], seen["engine"]) == (pid, full, "docker")
            assert seen["container records"][-1]["source"] == "cgroup"
        finally:
            config.write_text(text)
            task.with_name("elsewhere").rename(task)
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.02)
        seen = both(sdlab, "test-orphan")  # the state file still names the old PID
        assert (seen["state"], seen["reason"]) == ("stopped", "none of its processes is left")
        assert sdlab.systemctl("is-active", "docker.service", check=False) != "active"
    finally:
        sdlab.systemctl("reset-failed", "docker.service", check=False)
        sdlab.systemctl("start", "docker.service")


def test_podman_without_and_with_its_api(sdlab, podman):
    full = podman.run("test-pod", podman.image(build("svc")), "-tick=1s")
    seen = both(sdlab, "test-pod", collect=("container",))
    assert (seen["pid"], seen["container_id"]) == (podman.pid("test-pod"), full)
    assert seen["container records"][-1]["source"] == "files"
    sdlab.systemctl("start", "podman.service")
    try:
        seen = both(sdlab, "test-pod", collect=("container",))
        (state,) = seen["container records"]
        assert (state["source"], state["status"], state["pid"]) == ("api", "running", podman.pid("test-pod"))
    finally:
        sdlab.systemctl("stop", "podman.service")


LXC_CONFIG = """\
lxc.uts.name = test-lxc
lxc.rootfs.path = dir:/var/lib/lxc/test-lxc/rootfs
lxc.net.0.type = none
lxc.apparmor.profile = unconfined
lxc.init.cmd = /svc -tick 1s
"""


def test_an_lxc_container(sdlab, lab_svc):
    folder = "/var/lib/lxc/test-lxc"
    sdlab.write(f"{folder}/config", LXC_CONFIG)
    sdlab.install(build("svc"), f"{folder}/rootfs/svc")
    for name in ("proc", "dev", "sys"):
        (sdlab.root / f"{folder.lstrip('/')}/rootfs/{name}").mkdir()
    assert both(sdlab, "test-lxc")["reason"] == "it does not run"
    sdlab.run("lxc-start", "-n", "test-lxc")
    try:
        pid = sdlab.host_pid(int(sdlab.run("lxc-info", "-n", "test-lxc", "-pH").stdout))
        seen = both(sdlab, "test-lxc", collect=("container",))
        assert (seen["pid"], seen["engine"]) == (pid, "lxc")
        assert (seen["container records"][-1]["status"], seen["container records"][-1]["pid"]) == ("running", pid)
        assert look("pid", str(pid))["container_name"] == "test-lxc"
    finally:
        sdlab.run("lxc-stop", "-k", "-n", "test-lxc", check=False)


def test_an_nspawn_container(sdlab, lab_svc):
    root = "/var/lib/machines/test-box"
    sdlab.install(build("svc"), f"{root}/svc")
    sdlab.write(f"{root}/etc/os-release", "ID=none\n")
    (sdlab.root / f"{root.lstrip('/')}/usr").mkdir()
    command = f"/usr/bin/systemd-nspawn --quiet --keep-unit --register=yes -D {root} -M test-box /svc -tick=1s"
    with sdlab.unit("test-nspawn.service", f"[Service]\nExecStart={command}\n"):
        wait_until(lambda: look("container", "test-box", root_pid=sdlab.pid).get("comm") == "svc")
        seen = both(sdlab, "test-box", collect=("container", "unit"))
        leader = sdlab.run("machinectl", "show", "-p", "Leader", "--value", "test-box").stdout
        assert seen["pid"] == sdlab.host_pid(int(leader))
        assert (seen["engine"], seen["unit"]) == ("nspawn", "test-nspawn.service")
        assert seen["unit records"][0]["active_state"] == "active"
        behind = look("unit", "test-nspawn", root_pid=sdlab.pid)
        assert (behind["pid"], behind["comm"]) == (seen["pid"], "svc")
        assert inside(sdlab, "unit", "test-nspawn")["comm"] == "svc"


def test_a_unit_that_runs_a_container_leads_to_what_runs_in_it(sdlab, podman):
    """As quadlet writes them: the main process is conmon, and the container lies below the unit's cgroup."""
    image = podman.image(build("svc"))
    words = ["/usr/bin/podman", "run", "-d", "--rm", "--name=test-quadlet", "--cgroups=split", "--sdnotify=conmon"]
    words += [*podman.options, "--network=none", image, "-tick=1s"]
    text = f"[Service]\nType=notify\nNotifyAccess=all\nDelegate=yes\nExecStart={' '.join(words)}\n"
    with sdlab.unit("test-quadlet.service", text):
        seen = look("unit", "test-quadlet", root_pid=sdlab.pid, collect=("unit", "container"))
        assert seen["comm"] == "svc"
        assert seen["pid"] == podman.pid("test-quadlet")
        assert (seen["engine"], seen["container_name"], seen["unit"]) == (
            "podman",
            "test-quadlet",
            "test-quadlet.service",
        )
        assert seen["unit records"][0]["active_state"] == "active"
        assert seen["container records"][-1]["pid"] == seen["pid"]
        target = resolve(TargetSpec("unit", "test-quadlet", root_pid=sdlab.pid), Host.of(sdlab.pid))
        os.kill(target.pid, signal.SIGKILL)
        events_until(target, "exited")
        release(target)


def test_an_unknown_container_where_no_engine_is():
    seen = look("container", "no-such-container-anywhere")
    assert (seen["type"], seen["exit_code"]) == ("NoSuchTarget", 3)


def test_without_root_it_says_what_would_allow_it(sdlab, engine):
    engine.run("test-perm", engine.image(build("svc")), "-tick=1s")
    plain = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    command = sdlab.command(*plain, sys.executable, "-m", "gotriage", "check", "--container", "test-perm")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 77, done.stderr
    (line,) = done.stderr.splitlines()
    assert "test-perm" in line
    assert "permission denied" in line
    assert line.endswith("run gotriage as root (sudo)")
