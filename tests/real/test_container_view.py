"""What is told of containers besides their state: by docker, podman, containerd's ctr, LXC and nspawn; engines dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from gotriage.collectors.environment import EnvironmentCollector
from gotriage.collectors.limits import LimitCollector
from gotriage.host import Host
from gotriage.records.limits import LimitTable
from gotriage.records.target import TargetSpec
from gotriage.target.resolve import refresh, release, resolve
from gotriage.target.state import state_of as state_of_target

from tests.lab.engines import LIMITS
from tests.lab.process import wait_until
from tests.lab.toolchain import build
from tests.real.look import look
from tests.real.targets import target_of

pytestmark = pytest.mark.real

POD_UID = "0b6dd2d4-52cc-4c0b-9d29-8a1c2d3e4f50"
TASK = "c0ffee" + "0" * 58
BUNDLE = "/root/bundle"


def state_of(sdlab, kind, value):
    found = look(kind, str(value), root_pid=sdlab.pid, collect=("container",))
    return json.loads(json.dumps(found["container records"][-1], default=str)) | {"found": found}


RICH = (
    "--health-cmd=exit 1",
    "--health-interval=200ms",
    "--health-retries=1",
    "--volume=/etc/ssl:/conf:ro",
    "--tmpfs=/scratch:size=1m",
    "--read-only",
    "--user=1000:1000",
    "--cap-drop=ALL",
    "--ulimit=nofile=64:128",
)


def told(state):
    """The part that engine and state files must tell alike."""
    mounts = [(row["destination"], row["kind"], row.get("read_only", False)) for row in state["mounts"]]
    keys = ("command", "user", "read_only_root", "capabilities", "limits", "restart_policy", "image", "health")
    return [state.get(key) for key in keys] + [mounts]


def findings(sdlab, name):
    words = (sys.executable, "-m", "gotriage", "check", "--json", "--root-pid", str(sdlab.pid), "--container", name)
    done = subprocess.run([*words, "--for", "2s"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1, 2), done.stderr
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def test_a_check_that_passes_is_no_finding(sdlab, docker):
    check = 'HEALTHCHECK --interval=200ms CMD ["/svc", "-crash-after=1ms", "-exit-code=0"]'
    docker.run("test-well", docker.image(build("svc"), check), "-tick=1s")
    wait_until(lambda: state_of(sdlab, "container", "test-well").get("health") == "healthy")
    assert "container-unhealthy" not in findings(sdlab, "test-well")


def test_docker_tells_and_so_do_its_files_when_it_is_dead(sdlab, docker):
    docker.run("test-details", docker.image(build("svc")), "-tick=1s", "-secret=hunter2", options=RICH)
    wait_until(lambda: state_of(sdlab, "container", "test-details").get("health") == "unhealthy")
    by_api = state_of(sdlab, "container", "test-details")
    assert by_api["source"] == "api"
    assert by_api["command"][0] == "/svc"
    assert (by_api["user"], by_api["read_only_root"], by_api["capabilities"]) == ("1000:1000", True, ["-ALL"])
    assert by_api["limits"]["nofile"] == "64:128"
    assert by_api["mounts"][0]["source"] == "/etc/ssl"
    assert "/bin/sh" in by_api["health_output"]
    assert "container-unhealthy" in findings(sdlab, "test-details")
    sdlab.systemctl("kill", "-s", "KILL", "--kill-who=main", "docker.service")
    sdlab.systemctl("stop", "docker.service")
    try:
        by_files = state_of(sdlab, "container", "test-details")
        assert by_files["source"] == "files"
        assert told(by_files) == told(by_api)
    finally:
        sdlab.systemctl("reset-failed", "docker.service", check=False)
        sdlab.systemctl("start", "docker.service")


def test_podmans_files_tell_what_runs_in_a_user_namespace(sdlab, podman):
    options = ("--uidmap=0:100000:65536", "--user=1000", "--volume=/etc/ssl:/conf:ro")
    podman.run("test-userns", podman.image(build("svc")), "-tick=1s", options=options)
    state = state_of(sdlab, "container", "test-userns")
    assert (state["source"], state["id_map"], state["user"]) == ("files", "0:100000:65536", "1000:0")
    assert [(row["destination"], row["source"]) for row in state["mounts"]] == [("/conf", "/etc/ssl")]
    assert state["command"] == ["/svc", "-tick=1s"]
    target = target_of(podman.pid("test-userns"))
    (given,) = EnvironmentCollector(target.host, target).collect()
    assert (given.uid[0], given.uid_inside, given.user, given.gid_inside) == (101000, 1000, "1000", 0)
    podman.run("test-userns-2", podman.image(build("svc")), options=options[:2])
    (nproc,) = [row for row in limits_of(target) if row.name == "RLIMIT_NPROC"]
    assert nproc.used == threads_of(target.pid)  # the other container has the same uid here, and its own namespace


def limits_of(target):
    (table,) = [record for record in LimitCollector(target.host, target).collect() if isinstance(record, LimitTable)]
    return table.rows


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


# -- rootless podman

USER = "test-ann"
UID = 4444
HOME = f"/home/{USER}"


@pytest.fixture
def as_user(sdlab):
    """A user with a manager of its own and ids for its containers; runs commands as that user, in the lab."""
    sdlab.run("useradd", "-M", "-d", HOME, "-u", str(UID), USER)
    for file in ("subuid", "subgid"):
        sdlab.run("sh", "-c", f"echo {USER}:300000:65536 >>/etc/{file}")
    sdlab.run("mkdir", "-p", HOME)
    sdlab.run("mount", "-t", "tmpfs", "tmpfs", HOME)
    sdlab.run("loginctl", "enable-linger", USER)
    wait_until(lambda: (sdlab.root / f"run/user/{UID}/bus").exists())
    sdlab.install(build("healthy"), f"{HOME}/healthy")
    sdlab.write(f"{HOME}/Dockerfile", 'FROM scratch\nCOPY healthy /healthy\nENTRYPOINT ["/healthy"]\n')
    sdlab.run("chown", "-R", USER, HOME)
    runtime = f"/run/user/{UID}"
    words = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups", "env", "-i", f"HOME={HOME}")
    words += (f"XDG_RUNTIME_DIR={runtime}", f"DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus", "PATH=/usr/bin:/bin")

    def run(*command, check=True):
        return sdlab.run(*words, *command, check=check, timeout=90)

    yield run
    run(*PODMAN, "rm", "-f", "-a", check=False)
    sdlab.run("loginctl", "disable-linger", USER)
    sdlab.systemctl("stop", f"user@{UID}.service")
    sdlab.run("umount", "-l", HOME, check=False)
    sdlab.run("userdel", USER, check=False)


PODMAN = ("/usr/bin/podman", "--storage-driver=vfs")


def test_a_container_of_a_user(sdlab, as_user):
    """Its files lie in a home; its owner sees all of it from inside the user namespace, without root."""
    as_user(*PODMAN, "build", "-q", "--isolation=chroot", "-t", "healthy", HOME)
    options = ("--runtime=runc", "--pids-limit=-1", "--network=none", *LIMITS, "--user=1000")
    full = as_user(*PODMAN, "run", "-d", "--name=test-own", *options, "healthy").stdout.split()[-1]
    state = state_of(sdlab, "container", "test-own")
    assert (state["id"], state["engine"], state["source"]) == (full, "podman", "files")
    assert state["found"]["comm"] == "healthy"
    assert f"/user@{UID}.service/" in state["found"]["cgroup"]
    assert state["id_map"] == f"0:{UID}:1"
    assert [row for row in state["found"]["container records"] if row["kind"] == "gap"] == []
    look_at = (sys.executable, "-m", "gotriage", "show", "goroutines", "--container", "test-own", "--for", "3s")
    assert "CAP_SYS_PTRACE" in as_user(*look_at, check=False).stderr
    seen = as_user(*PODMAN, "unshare", *look_at)
    assert "main.load" in seen.stdout


# -- containerd


@pytest.fixture
def ctr(sdlab, docker):
    """containerd's own command, in the namespace of Kubernetes."""

    def run(*words, check=True):
        return sdlab.run("/usr/bin/ctr", "-n", "k8s.io", *words, check=check).stdout

    yield run
    run("tasks", "kill", "-s", "SIGKILL", TASK, check=False)
    deadline = time.monotonic() + 10
    while TASK in run("tasks", "ls") and time.monotonic() < deadline:
        run("tasks", "rm", "-f", TASK, check=False)
        time.sleep(0.1)
    run("containers", "rm", TASK, check=False)


@pytest.fixture
def pod(sdlab, docker, ctr):
    """A task of containerd as its CRI plugin makes them: its annotations, the kubelet's cgroup; its PID in the lab.

    Without a CPU weight: the lab's cgroups have no controllers.
    """
    tag = docker.image(build("svc"))
    sdlab.run("sh", "-c", f"/usr/bin/docker save {tag} | /usr/bin/ctr -n k8s.io images import -")
    image = f"docker.io/library/{tag}:latest"
    ctr("containers", "create", "--snapshotter", "native", image, TASK)
    spec = json.loads(ctr("containers", "info", TASK))["Spec"]
    ctr("containers", "rm", TASK)
    sdlab.install(build("svc"), f"{BUNDLE}/rootfs/svc")
    spec["root"] = {"path": f"{BUNDLE}/rootfs"}
    spec["process"]["args"] = ["/svc", "-tick=1s"]
    spec["linux"]["resources"].pop("cpu", None)
    spec["linux"]["cgroupsPath"] = f"/kubepods/burstable/pod{POD_UID}/{TASK}"
    sdlab.write("/root/spec.json", json.dumps(spec | {"annotations": NOTES}))
    ctr("run", "-d", "--label", "team=orders", "--config", "/root/spec.json", TASK)
    return pid_of(ctr, TASK)


def pid_of(ctr, task):
    return int(ctr("tasks", "ls").partition(task)[2].split()[0])


NOTES = {
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.container-name": "api",
    "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.sandbox-name": "orders-7d9",
}


def test_a_pod_of_containerd(sdlab, pod):
    for reference in (TASK[:7], "shop/orders-7d9", "shop/orders-7d9/api", f"containerd://{TASK}", "api"):
        state = state_of(sdlab, "container", reference)
        assert state["found"]["pid"] == sdlab.host_pid(pod), reference
    assert state["pod"] | {"told_by": ""} == {
        "namespace": "shop",
        "name": "orders-7d9",
        "container": "api",
        "uid": POD_UID,
        "qos": "burstable",
        "told_by": "",
    }
    assert state["labels"]["team"] == "orders"  # known to ctr alone
    assert state["runtime"] == "io.containerd.runc.v2"
    assert state_of(sdlab, "pid", pod)["pod"]["name"] == "orders-7d9"


def test_a_container_that_the_kubelet_makes_anew_is_followed(sdlab, pod, ctr):
    """A restart in a pod is another container with another id."""
    target = resolve(TargetSpec("container", "shop/orders-7d9", root_pid=sdlab.pid), Host.of(sdlab.pid))
    other = "decade" + "1" * 58
    spec = json.loads((sdlab.root / "root/spec.json").read_text())
    spec["linux"]["cgroupsPath"] = spec["linux"]["cgroupsPath"].replace(TASK, other)
    sdlab.write("/root/other.json", json.dumps(spec))
    try:
        assert (target.name, target.container.id) == ("shop/orders-7d9/api", TASK)
        ctr("tasks", "kill", "-s", "SIGKILL", TASK)
        ctr("run", "-d", "--config", "/root/other.json", other)
        wait_until(lambda: (refresh(target), target.container.id == other)[1])
        assert target.pid == sdlab.host_pid(pid_of(ctr, other))
        assert (target.generation, state_of_target(target).state) == (2, "running")
    finally:
        release(target)
        ctr("tasks", "rm", "-f", other, check=False)
        ctr("containers", "rm", other, check=False)


def test_a_pod_when_containerd_is_dead_and_its_files_are_gone(sdlab, pod):
    """The kubelet's links and the cgroup are what is left."""
    main = sdlab.main_pid("containerd.service")
    os.kill(main, signal.SIGSTOP)  # it answers ctr no more; ending it would end dockerd, too
    folder = sdlab.root / f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{TASK}"
    elsewhere = sdlab.root / "run/containerd/elsewhere"
    try:
        state = state_of(sdlab, "container", "shop/orders-7d9/api")
        assert (state["found"]["pid"], state["source"]) == (sdlab.host_pid(pod), "files")
        assert state["found"]["container took"] < 4
        folder.rename(elsewhere)
        sdlab.write(f"/var/log/pods/shop_orders-7d9_{POD_UID}/api/3.log", "")
        sdlab.write(f"/var/log/containers/orders-7d9_shop_api-{TASK}.log", "")
        for reference in ("shop/orders-7d9/api", TASK[:9]):
            state = state_of(sdlab, "container", reference)
            assert (state["found"]["pid"], state["source"]) == (sdlab.host_pid(pod), "cgroup"), reference
        assert (state["pod"]["told_by"], state["pod"]["qos"], state["restart_count"]) == ("log files", "burstable", 3)
    finally:
        os.kill(main, signal.SIGCONT)
        sdlab.run("rm", "-rf", "/var/log/pods", "/var/log/containers")
        if not folder.exists():
            elsewhere.rename(folder)


# -- LXC, nspawn


def test_an_lxc_configuration_that_does_not_run(sdlab):
    text = "lxc.rootfs.path = dir:/srv/box\nlxc.init.cmd = /svc -tick 1s\nlxc.cgroup2.memory.max = 64M\n"
    sdlab.write("/var/lib/lxc/test-still/config", text)
    try:
        state = state_of(sdlab, "container", "test-still")
        assert (state["command"], state["memory_limit_bytes"]) == (["/svc", "-tick", "1s"], 64 << 20)
        assert state["image"] == "dir:/srv/box"
    finally:
        sdlab.run("rm", "-rf", "/var/lib/lxc/test-still")


def test_an_nspawn_container_and_its_settings(sdlab):
    root = "/var/lib/machines/test-given"
    sdlab.install(build("svc"), f"{root}/svc")
    sdlab.write(f"{root}/etc/os-release", "ID=none\n")
    (sdlab.root / f"{root.lstrip('/')}/usr").mkdir(exist_ok=True)
    sdlab.write("/etc/systemd/nspawn/test-given.nspawn", "[Files]\nBindReadOnly=/etc/ssl:/conf\n")
    command = f"/usr/bin/systemd-nspawn --quiet --keep-unit --register=yes -D {root} -M test-given /svc -tick=1s"
    with sdlab.unit("test-given.service", f"[Service]\nExecStart={command}\n"):
        wait_until(lambda: look("container", "test-given", root_pid=sdlab.pid).get("comm") == "svc")
        state = state_of(sdlab, "container", "test-given")
        assert state["image"] == root
        assert state["mounts"][0]["destination"] == "/conf"
        assert state["started_at"]
