"""The owner of a process, by the cgroup paths of real systems."""

from __future__ import annotations

import pytest
from gotriage.host.cgroup_names import Owner, below, owner, unescaped

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "unit", "uid"),
    [
        ("/system.slice/nginx.service", "nginx.service", None),
        ("/system.slice/system-web.slice/web@1.service", "web@1.service", None),
        ("/system.slice/nginx.service/worker", "nginx.service", None),
        ("/init.scope", "init.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/my.service", "my.service", 1000),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service", None),
        ("/user.slice/user-1000.slice/session-4.scope", "", None),
        ("/system.slice/_cgroup.service", "cgroup.service", None),
        ("/system.slice", "", None),
        ("/", "", None),
        ("/some_api/abc", "", None),
        ("/sdlab-x/system.slice/web.service", "", None),
        ("/system.slice/\x1b[2J.service", "", None),
    ],
)
def test_units(path, unit, uid):
    found = owner(path)
    assert (found.unit, found.uid, found.id) == (unit, uid, "")
    if unit:
        assert path.startswith(found.top)


def test_a_login_session_is_none():
    assert owner("/user.slice/user-1000.slice/session-4.scope") == Owner(session=True)


@pytest.mark.parametrize(
    ("path", "engine", "name"),
    [
        (f"/system.slice/docker-{ID}.scope", "docker", ID),
        (f"/docker/{ID}", "docker", ID),
        (f"/docker/{ID}/docker/{ID[::-1]}", "docker", ID),
        (f"/machine.slice/libpod-{ID}.scope", "podman", ID),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman", ID),
        (f"/libpod_parent/libpod-{ID}", "podman", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", "containerd", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", "cri-o", ID),
        (f"/kubepods/burstable/pod1-2/{ID}", "", ID),
        (f"/system.slice/kubepods-burstable-pod1.slice:cri-containerd:{ID}", "containerd", ID),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", "podman", ID),
        ("/lxc.payload.web/system.slice/nginx.service", "lxc", "web"),
        ("/lxc/web", "lxc", "web"),
        ("/machine.slice/machine-web\\x2d1.scope/payload", "nspawn", "web-1"),
    ],
)
def test_containers(path, engine, name):
    found = owner(path)
    assert (found.engine, found.id, found.unit) == (engine, name, "")
    assert path == found.top or path.startswith(found.top + "/")


@pytest.mark.parametrize(
    "path",
    [
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/system.slice/{ID[:40]}.scope",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
    ],
)
def test_what_looks_like_a_container_and_is_none(path):
    assert owner(path).id == ""


def test_a_container_that_a_service_runs_has_both():
    found = owner(f"/system.slice/web.service/libpod-payload-{ID}")
    assert (found.unit, found.engine, found.id) == ("web.service", "podman", ID)
    assert found.top.endswith(ID)


def test_nspawn_as_a_service_has_both():
    found = owner("/machine.slice/systemd-nspawn@web.service/payload/system.slice")
    assert (found.unit, found.engine, found.id) == ("systemd-nspawn@web.service", "nspawn", "web")


def test_the_tree_of_another_systemd_begins_elsewhere():
    found = owner("/sdlab-x/system.slice/web.service/sub", "/sdlab-x")
    assert (found.unit, found.top) == ("web.service", "/sdlab-x/system.slice/web.service")
    assert owner("/system.slice/web.service", "/sdlab-x") == Owner()


def test_below():
    assert below("/a/b", "/") == "/a/b"
    assert below("/a/b", "/a") == "/b"
    assert below("/a", "/a") == "/a"
    assert below("/ab", "/a") is None


def test_a_path_of_any_length_is_bounded():
    assert owner("/x.slice" * 100_000 + f"/docker-{ID}.scope") == Owner()
    assert unescaped("a\\x2db") == "a-b"
