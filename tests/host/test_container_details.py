"""What engines, files and the kubelet's names tell of a container besides its state; recordings and made files."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from gotriage.host import Host, containerd, engine_files, engine_parse, kubernetes, machines
from gotriage.host.proc import Proc
from gotriage.records.service import ContainerMount, Pod

from tests.collectors.fakes import write

FIXTURES = Path(__file__).parents[1] / "fixtures"
ID, OTHER = "a1" * 32, "b2" * 32
UID = "0b6dd2d4-52cc-4c0b-9d29-8a1c2d3e4f50"


def fixture(name):
    return json.loads((FIXTURES / name).read_text())


@pytest.fixture
def host(tmp_path):
    for name in ("proc", "view"):
        (tmp_path / name).mkdir()
    return Host(proc=Proc(tmp_path / "proc"), sys=tmp_path / "sys", view=tmp_path / "view")


# -- docker


def test_what_docker_tells_of_a_container():
    state = engine_parse.inspected("docker", fixture("docker/20.10/inspect_rich.json"))
    assert (state.command, state.working_directory, state.user) == (("/svc", "-tick=1s"), "/data", "1000:1000")
    assert (state.restart_policy, state.read_only_root, state.privileged) == ("on-failure:4", True, False)
    assert state.capabilities == ("+NET_BIND_SERVICE", "-ALL")
    assert [(mount.destination, mount.kind, mount.read_only) for mount in state.mounts] == [
        ("/conf", "bind", True),
        ("/data", "volume", False),
        ("/scratch", "tmpfs", False),
    ]
    assert state.pod == Pod("shop", "orders-7d9", "api", told_by="labels")
    assert (state.health, state.health_test) == ("unhealthy", "CMD-SHELL exit 1")
    assert state.health_failing > 2
    assert state.health_output.startswith("status -1: OCI runtime exec failed")
    assert state.created_at is not None


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        ({"MemorySwap": -1, "CpusetCpus": "0-1"}, {"memory and swap": "no limit", "CPUs": "0-1"}),
        ({"Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 128}, 7]}, {"nofile": "64:128"}),
        ({"OomKillDisable": True, "OomScoreAdj": 500}, {"OOM killer": "off", "oom_score_adj": "500"}),
        ({"Ulimits": "x", "ShmSize": True, "CpusetCpus": 7}, {}),
    ],
)
def test_limits_in_words(limits, shown):
    assert engine_parse.inspected("docker", {"HostConfig": limits}).limits == shown


def test_ports_networks_and_what_is_shared():
    found = {
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": None},
            "Networks": {"shop": {"IPAddress": "172.20.0.3"}},
        },
        "HostConfig": {"PidMode": "host", "NetworkMode": f"container:{ID}", "IpcMode": "private"},
    }
    state = engine_parse.inspected("docker", found)
    assert state.ports == ("80/tcp on 0.0.0.0:8080", "81/tcp")
    assert state.networks == ("shop 172.20.0.3",)
    assert state.shared_namespaces == (f"network container:{ID}", "pid host")


def test_secrets_of_a_command_are_masked():
    found = {"Path": "/svc", "Args": ["--password=hunter2", "--token", "abcdef"], "Config": {}, "HostConfig": {}}
    shown = " ".join(engine_parse.inspected("docker", found).command)
    assert "hunter2" not in shown
    assert "abcdef" not in shown


@pytest.mark.parametrize(
    "found",
    [
        {"Mounts": "x", "Path": 7, "Args": {"a": 1}, "NetworkSettings": {"Ports": [1], "Networks": 7}},
        {"MountPoints": {"/a": 7}, "State": {"Health": {"Status": "x", "Log": [7], "FailingStreak": "y"}}},
        {"HostConfig": {"CapAdd": "ALL", "Tmpfs": [1], "IDMappings": {"UidMap": [7]}, "SecurityOpt": {"a": 1}}},
    ],
)
def test_rubbish_in_the_details_is_no_error(found):
    state = engine_parse.inspected("docker", found)
    assert (state.command, state.ports, state.capabilities, state.health_failing) == ((), (), (), None)


def test_a_command_without_arguments():
    for args, cmd, command in (
        ([], None, ("/svc",)),
        (["/svc"], [], ("/svc",)),
        (["/svc"], ["/svc"], ("/svc", "/svc")),
    ):
        found = {"Path": "/svc", "Args": args, "Config": {"Cmd": cmd}}
        assert engine_parse.inspected("podman", found).command == command


def test_megabytes_of_an_image_are_cut_before_they_are_read():
    long = "a=b " * 500_000
    config = {"Healthcheck": {"Test": ["CMD-SHELL", long]}, "User": long, "Labels": {"x": long}}
    found = {"Path": long, "Args": [long] * 1000, "Config": config, "State": {"Health": {"Log": [{"Output": long}]}}}
    state = engine_parse.inspected("docker", found)
    assert len(state.command) <= 200
    assert max(map(len, (*state.command, state.user, state.health_test, state.health_output))) <= 4096


# -- OCI specifications


def test_a_specification_of_podman():
    (row,) = fixture("podman/4.3/containers.json")
    state = engine_parse.stored(row, fixture("podman/4.3/config.json"), 77)
    assert state.command[0].startswith("/svc")
    assert state.mounts == ()  # those that every container has are left out
    assert "CAP_CHOWN" in state.capabilities


def test_mounts_and_namespaces_of_a_specification():
    spec = {
        "process": {"args": ["/svc"], "user": {"uid": 1000, "gid": 0}},
        "root": {"readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/etc/hosts", "type": "bind", "options": ["rbind"]},
            {"destination": "/conf", "type": "none", "source": "/srv/conf", "options": ["rbind", "ro", "nosuid"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid", "path": "/proc/7/ns/pid"}, {"type": "mount"}, {"type": "ipc"}],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        },
    }
    state = engine_parse.task("default", "web", spec, 5)
    assert state.mounts == (ContainerMount("/conf", "bind", "/srv/conf", read_only=True, options="nosuid"),)
    assert state.shared_namespaces == ("network host", "pid /proc/7/ns/pid", "uts host")
    assert (state.id_map, state.user, state.read_only_root) == ("0:100000:65536", "1000:0", True)


# -- Kubernetes


@pytest.mark.parametrize(
    ("path", "pod"),
    [
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
            f"/cri-containerd-{ID}.scope",
            Pod(uid=UID, qos="burstable", told_by="cgroup"),
        ),
        (f"/kubepods/besteffort/pod{UID}/{ID}", Pod(uid=UID, qos="besteffort", told_by="cgroup")),
        (f"/kubepods.slice/kubepods-pod{UID}.slice/crio-{ID}", Pod(uid=UID, qos="guaranteed", told_by="cgroup")),
        (
            f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{'0' * 32}.slice/x",
            Pod(uid="0" * 32, qos="guaranteed", told_by="cgroup"),
        ),
        (f"/system.slice/docker-{ID}.scope", None),
        (f"/pod{UID}/x", None),
        ("/", None),
    ],
)
def test_the_pod_by_the_cgroup(path, pod):
    assert kubernetes.by_cgroup(path) == pod


def test_the_pod_by_the_name_of_a_log_file():
    assert kubernetes.by_link(f"orders-7d9_shop_api-v2-{ID}.log") == (
        ID,
        Pod("shop", "orders-7d9", "api-v2", told_by="log files"),
    )
    for name in (f"orders_shop_api-{ID}", f"a_b-{ID}.log", "x.log", f"a/b_c_d-{ID}.log", f"a_b_\x1b-{ID}.log"):
        assert kubernetes.by_link(name) is None


def test_what_is_merged_is_of_one_pod():
    named = Pod("shop", "orders", "api", told_by="labels")
    assert kubernetes.merged(None, None) is None
    assert kubernetes.merged(named, Pod(uid=UID, qos="burstable")) == Pod(
        "shop", "orders", "api", UID, "burstable", "labels"
    )
    other = Pod("shop", "orders", "api", "1", told_by="labels")
    assert kubernetes.merged(other, Pod(uid=UID, qos="burstable")) == other


def test_restarts_by_the_numbers_of_log_files(host):
    folder = f"var/log/pods/shop_orders-7d9_{UID}/api"
    write(host.view, {f"{folder}/0.log": "", f"{folder}/12.log": "", f"{folder}/9.log.20261125": "", f"{folder}/x": ""})
    pod = Pod("shop", "orders-7d9", "api")
    assert kubernetes.log_file(host, pod) == (f"/{folder}/12.log", 12)
    assert kubernetes.log_file(host, Pod("shop", "orders-7d9", "../../x")) is None
    assert kubernetes.log_file(host, Pod("shop", "none", "api")) is None


def test_inside_a_pod(host):
    root = "5/root"
    write(
        Path(host.proc.root),
        {f"{root}{kubernetes.ACCOUNT}/namespace": "shop", f"{root}/etc/hostname": "orders-7d9\n\x1b[2J"},
    )
    pod = kubernetes.inside(host, 5)
    assert (pod.namespace, pod.told_by) == ("shop", "the target's own files")
    assert "\x1b" not in pod.name
    assert kubernetes.inside(host, 6) is None


# -- containerd


def test_what_ctr_tells():
    found = fixture("containerd/1.6/info.json")
    state = containerd.with_info(engine_parse.task("k8s.io", found["ID"], {}, 5), found)
    assert state.image.startswith("docker.io/library/svc-")
    assert (state.labels["team"], state.runtime) == ("orders", "io.containerd.runc.v2")
    assert state.command == ("/svc", "-tick=1s")


def test_a_container_that_the_cri_plugin_made():
    found = fixture("containerd/1.6/cri_info.json")
    state = containerd.with_info(engine_parse.task("k8s.io", found["ID"], found["Spec"], 5), found)
    assert state.pod == Pod("shop", "orders-cri", "api", UID, told_by="labels")
    assert (state.restart_count, state.name) == (3, "api")
    assert state.log_path == f"/var/log/pods/shop_orders-cri_{UID}/api/3.log"
    assert state.shared_namespaces == ("pid the pod's",)
    running = engine_parse.cri_status(fixture("containerd/1.6/cri_status.json"))
    assert (running["status"], running["exit_code"], running["finished_at"]) == ("running", None, None)
    killed = engine_parse.cri_status(fixture("containerd/1.6/cri_status_killed.json"))
    assert (killed["status"], killed["exit_code"], killed["error"]) == ("exited", 137, "")
    assert killed["finished_at"] > killed["started_at"] > killed["created_at"]


def test_notes_of_the_cri_plugin_and_rubbish_in_their_place():
    metadata = {
        "Version": "v1",
        "Metadata": {
            "Config": {"metadata": {"name": "api", "attempt": 4}, "image": {"user_specified_image": "orders:7"}},
            "LogPath": "/var/log/pods/shop_o_1/api/4.log",
        },
    }
    value = base64.b64encode(json.dumps(metadata).encode()).decode()
    found = {
        "Labels": {kubernetes.POD: "o", kubernetes.NAMESPACE: "shop", kubernetes.CONTAINER: "api", kubernetes.UID: UID},
        "Extensions": {containerd.METADATA: {"value": value}},
    }
    state = containerd.with_info(engine_parse.task("k8s.io", ID, {}, 5), found)
    assert (state.restart_count, state.image, state.name) == (4, "orders:7", "api")
    assert state.log_path == "/var/log/pods/shop_o_1/api/4.log"
    assert state.pod == Pod("shop", "o", "api", UID, told_by="labels")
    for bad in ("%%%", base64.b64encode(b"[" * 100_000).decode(), 7, None):
        found["Extensions"][containerd.METADATA]["value"] = bad
        assert containerd.with_info(engine_parse.task("k8s.io", ID, {}, 5), found).restart_count is None


def test_the_status_file_of_the_cri_plugin(host):
    """One container runs as a task, the other ended; the kubelet's links name them."""
    folder = engine_files.CRI[0].lstrip("/")
    task = f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}"
    ended = {"Version": "v1", "Pid": 0, "CreatedAt": 1 << 60, "StartedAt": 1 << 60, "FinishedAt": (1 << 60) + 5}
    ended |= {"ExitCode": 137, "Reason": "OOMKilled"}
    write(
        host.view,
        {
            f"{task}/init.pid": "55",
            f"{task}/config.json": "{}",
            f"{folder}/{ID}/status": json.dumps({"Version": "v1", "Pid": 55, "StartedAt": 1 << 60}),
            f"{folder}/{OTHER}/status": json.dumps(ended),
            f"{folder}/../x/status": "{}",
            f"var/log/containers/orders-7d9_shop_api-{ID}.log": "",
            f"var/log/containers/orders-7d9_shop_old-{OTHER}.log": "",
        },
    )
    found = {state.id: state for state in engine_files.containers(host)}
    assert set(found) == {ID, OTHER}
    assert (found[ID].status, found[ID].pid, found[ID].name) == ("running", 55, "api")
    assert found[ID].pod == Pod("shop", "orders-7d9", "api", told_by="log files")
    assert found[ID].labels[kubernetes.POD] == "orders-7d9"
    assert (found[OTHER].status, found[OTHER].exit_code, found[OTHER].oom_killed) == ("exited", 137, True)
    assert found[OTHER].error == ""
    assert engine_parse.cri_status({"Reason": "StartError", "Message": "no /svc", "FinishedAt": 5})["error"] == (
        "StartError: no /svc"
    )


# -- users' own engines


def test_rootless_podman_keeps_its_files_in_a_home(host):
    storage = "home/ann/.local/share/containers/storage/overlay-containers"
    write(
        host.view,
        {
            "etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbad:x:y\nb:x:1001:1:::\n",
            f"{storage}/containers.json": json.dumps([{"id": ID, "names": ["web"]}]),
            f"{storage}/{ID}/userdata/config.json": json.dumps({"process": {"args": ["/svc"]}}),
            f"run/user/1000/containers/overlay-containers/{ID}/userdata/pidfile": "77",
            f"run/user/1000/containers/overlay-containers/{ID}/healthcheck.log": json.dumps(
                {"Status": "unhealthy", "FailingStreak": 3, "Log": [{"ExitCode": 1, "Output": "refused\n"}]}
            ),
            f"run/user/1000/libpod/tmp/exits/{ID}": "2",
        },
    )
    (state,) = engine_files.containers(host)
    assert (state.engine, state.name, state.pid, state.exit_code) == ("podman", "web", 77, 2)
    assert (state.health, state.health_failing, state.health_output) == ("unhealthy", 3, "status 1: refused")


# -- LXC, nspawn


def test_an_lxc_configuration():
    text = """\
# lxc.init.cmd = /not
lxc.init.cmd = /svc --password=hunter2
lxc.rootfs.path = dir:/var/lib/lxc/l1/rootfs
lxc.mount.entry = /srv/conf conf none bind,ro 0 0
lxc.mount.entry = broken
lxc.cgroup2.memory.max = 512M
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.cap.drop = sys_module mac_admin
lxc.net.0.type = veth
lxc.start.auto = 1
"""
    found = machines.parse_lxc(text)
    assert found["command"][0] == "/svc"
    assert "hunter2" not in str(found)
    assert found["mounts"] == (ContainerMount("/conf", "bind", "/srv/conf", read_only=True, options="bind,ro"),)
    assert (found["memory_limit_bytes"], found["id_map"]) == (512 << 20, "0:100000:65536")
    assert found["capabilities"] == ("-sys_module", "-mac_admin")
    assert (found["network_mode"], found["restart_policy"]) == ("veth", "started at boot")
    assert machines.parse_lxc("")["command"] == ()
    assert machines.parse_lxc("lxc.net.0.type = none")["network_mode"] == "host"


def test_a_machine_file():
    found = machines.parse_machine("# private\nNAME=box\nCLASS=container\nLEADER=97\nROOT=/srv/box\nREALTIME=1e9\n")
    assert (found["pid"], found["image"]) == (97, "/srv/box")
    assert "started_at" not in found
    assert machines.parse_machine("CLASS=container\nLEADER=\u0664\n")["pid"] is None
    assert machines.parse_machine("CLASS=vm\nLEADER=5\n") is None
    assert machines.parse_machine("") is None


def test_an_nspawn_file():
    text = "[Exec]\nParameters=/svc -x\nUser=web\n[Files]\nBindReadOnly=/etc/ssl\nBind=/a:/b:norbind\n[Network]\n"
    found = machines.parse_nspawn(text + "Private=yes\n")
    assert (found["command"], found["user"], found["network_mode"]) == (("/svc", "-x"), "web", "private")
    assert found["mounts"] == (
        ContainerMount("/etc/ssl", "bind", "/etc/ssl", read_only=True),
        ContainerMount("/b", "bind", "/a"),
    )
    assert machines.parse_nspawn("") == {}
