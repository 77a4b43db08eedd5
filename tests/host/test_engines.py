"""Engines that answer, hang or lie, and the files and cgroups that stand in for them; on a host of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
from gotriage.errors import NoSuchTarget
from gotriage.host import Host, engine_api, engine_files, engines
from gotriage.host.deadline import Deadline
from gotriage.host.engine_api import Daemons, Endpoint, EngineSilent
from gotriage.host.pidns import PidView
from gotriage.host.proc import Proc

from tests.collectors.fakes import stat_line, write

FIXTURES = Path(__file__).parents[1] / "fixtures"
ID = json.loads((FIXTURES / "docker/20.10/inspect.json").read_text())["Id"]
ROW = (FIXTURES / "docker/20.10/list.json").read_bytes()


@pytest.fixture
def host(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "view").mkdir()
    return Host(proc=Proc(tmp_path / "proc"), sys=tmp_path / "sys", view=tmp_path / "view")


@pytest.fixture
def serve(host):
    """`serve(answer)`: docker's socket in the view; `answer(connection, request)`. The daemon is seen running."""
    servers = []

    def start(answer):
        path = host.view / "run/docker.sock"
        path.parent.mkdir(parents=True, exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        servers.append(server)
        write(Path(host.proc.root), {"9/comm": "dockerd\n", "9/stat": stat_line(9, "dockerd")})

        def accept():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    try:
                        answer(client, client.recv(65536).decode())
                    except OSError:
                        continue

        threading.Thread(target=accept, daemon=True).start()
        return Endpoint("docker", path)

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def reply(client, body, status="200 OK"):
    client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def test_an_engine_that_answers(host, serve):
    asked = []

    def answer(client, request):
        asked.append(request.split("\r\n")[0])
        body = ROW if "?all=1" in request else (FIXTURES / "docker/20.10/inspect.json").read_bytes()
        reply(client, body)

    endpoint = serve(answer)
    found = engines.survey(host, Deadline(2))
    assert [(state.id, state.name, state.source) for state in found.containers] == [(ID, "web-1", "api")]
    assert found.endpoints == {ID: endpoint}
    assert found.silent == ()
    state, problem = engines.look(host, found.containers[0], endpoint, Daemons(), 2.0)
    assert (state.source, state.status, problem) == ("api", "running", "")
    assert asked == ["GET /containers/json?all=1 HTTP/1.1", f"GET /containers/{ID}/json HTTP/1.1"]


def hang(client, request):
    time.sleep(3)


def drop(client, request):
    return


def rubbish(client, request):
    client.sendall(b"\0\1\2 what\r\n\r\n")


def broken_json(client, request):
    reply(client, b"[{")


def deep_json(client, request):
    reply(client, b"[" * 200_000)


def wrong_shape(client, request):
    reply(client, b'{"message": "no"}')


def failing(client, request):
    reply(client, b"boom \x1b[31m", "500 Internal Server Error")


@pytest.mark.parametrize("answer", [hang, drop, rubbish, broken_json, deep_json, wrong_shape, failing])
def test_an_engine_that_does_not_answer_leaves_the_files(host, serve, answer):
    serve(answer)
    folder = host.view / f"var/lib/docker/containers/{ID}"
    folder.mkdir(parents=True)
    for name in ("config.v2.json", "hostconfig.json"):
        shutil.copy(FIXTURES / "docker/20.10" / name, folder)
    begun = time.monotonic()
    found = engines.survey(host, Deadline(0.3))
    assert time.monotonic() - begun < 2
    (state,) = found.containers
    assert (state.id, state.name, state.source) == (ID, "web-1", "files")
    (silent,) = found.silent
    assert silent.startswith("docker: ")
    assert "\x1b" not in silent


def test_a_folder_that_we_may_not_look_into_is_said_and_hides_no_other(host, serve, monkeypatch):
    endpoint = serve(lambda client, _: reply(client, ROW))
    real = os.stat

    def refuse(path, *more, **options):
        if "/podman/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **options)

    monkeypatch.setattr(engine_api.os, "stat", refuse)
    assert engine_api.endpoints(host) == [endpoint]
    (said,) = engine_api.refused(host, "podman")
    assert said == f"podman: {host.view}/run/podman/podman.sock: permission denied"
    assert engine_api.refused(host, "docker") == []
    found = engines.survey(host, Deadline(2))
    assert [state.name for state in found.containers] == ["web-1"]
    assert found.refused == (said,)


def test_a_socket_that_is_not_for_us_is_a_refusal(host, serve, monkeypatch):
    serve(lambda client, _: reply(client, ROW))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(engine_api._Connection, "connect", refuse)
    found = engines.survey(host, Deadline(2))
    assert found.containers == ()
    assert [text.endswith("docker.sock: permission denied") for text in found.refused] == [True]


def test_an_unknown_container_and_an_odd_reference(host, serve):
    asked = []

    def answer(client, request):
        asked.append(request.split("\r\n")[0])
        reply(client, b'{"message":"No such container"}', "404 Not Found")

    endpoint = serve(answer)
    with pytest.raises(NoSuchTarget):
        engine_api.inspect(endpoint, "../../images/json?x\r\nA: b")
    assert asked == ["GET /containers/..%2F..%2Fimages%2Fjson%3Fx%0D%0AA%3A%20b/json HTTP/1.1"]


def test_too_long_an_answer_is_refused(host, serve, monkeypatch):
    monkeypatch.setattr(engine_api, "MAX_BODY", 1000)
    endpoint = serve(lambda client, request: reply(client, b" " * 5000 + b"[]"))
    with pytest.raises(EngineSilent):
        engine_api.containers(endpoint)


def test_a_dead_engines_socket_is_not_touched(host, serve):
    """systemd may hold it, and would start the engine."""
    asked = []
    serve(lambda client, request: asked.append(request))
    shutil.rmtree(Path(host.proc.root) / "9")
    found = engines.survey(host, Deadline(1))
    assert (found.silent, found.containers, asked) == (("dockerd does not run",), (), [])


def test_a_daemon_is_remembered_and_searched_seldom(host, monkeypatch):
    write(Path(host.proc.root), {"9/comm": "dockerd\n"})
    daemons = Daemons()
    assert daemons.alive(host, "docker")
    write(Path(host.proc.root), {"9/comm": "bash\n", "12/comm": "dockerd\n"})
    assert not daemons.alive(host, "docker")  # searched a moment ago
    monkeypatch.setattr(engine_api, "SEARCH_EVERY", 0.0)
    assert daemons.alive(host, "docker")


def test_podman_run_is_no_api_service(host):
    write(Path(host.proc.root), {"7/comm": "podman\n", "7/cmdline": b"podman\0run\0x\0"})
    assert engine_api.running(host, ("podman",)) == {}
    write(Path(host.proc.root), {"8/comm": "podman\n", "8/cmdline": b"podman\0system\0service\0"})
    assert engine_api.running(host, ("podman",)) == {"podman": 8}


# -- files


def test_files_of_every_engine(host):
    storage, name = "var/lib/containers/storage/overlay-containers", "19f6" + "0" * 60
    rows = [{"id": name, "names": ["web-2"], "metadata": "{}"}, {"id": "../../etc", "names": ["x"]}, 7]
    write(
        host.view,
        {
            f"{storage}/containers.json": json.dumps(rows),
            f"{storage}/{name}/userdata/ctr.log": "",
            f"run/containers/storage/overlay-containers/{name}/userdata/pidfile": "1234\n",
            f"run/libpod/exits/{name}": "3",
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/init.pid": "55",
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/config.json": "{broken",
            "var/lib/lxc/l1/config": "",
            "run/systemd/machines/box": "CLASS=container\nLEADER=97\n",
            "run/systemd/machines/vm": "CLASS=vm\nLEADER=98\n",
        },
    )
    found = {state.id: state for state in engine_files.containers(host)}
    assert set(found) == {name, "abc", "l1", "box"}
    podman = found[name]
    assert (podman.engine, podman.name, podman.pid, podman.exit_code) == ("podman", "web-2", 1234, 3)
    assert podman.log_path == f"/{storage}/{name}/userdata/ctr.log"
    assert (found["abc"].engine, found["abc"].pid) == ("containerd", 55)
    assert found["box"].pid == 97
    assert [state.id for state in engine_files.containers(host, only="l1")] == ["l1"]
    assert name not in {state.id for state in engine_files.containers(host, skip=frozenset({"podman"}))}


def test_links_in_state_folders_stay_inside_the_view(host, tmp_path):
    """A host inside a container may have absolute links; they lead to its own files, not to ours."""
    write(tmp_path, {"outside/config.v2.json": json.dumps({"ID": ID, "Name": "/stolen"})})
    folder = host.view / "var/lib/docker/containers"
    folder.mkdir(parents=True)
    (folder / ID).symlink_to(tmp_path / "outside")
    assert engine_files.containers(host) == []


# -- cgroups, and stale files


def container_process(host, pid, *, nspid="", group=f"/system.slice/docker-{ID}.scope", **more):
    files = {
        f"{pid}/cgroup": f"0::{group}\n",
        f"{pid}/stat": stat_line(pid, **more),
        f"{pid}/status": f"NSpid:\t{pid} {nspid}\n",
    }
    write(Path(host.proc.root), files)
    path = host.sys / "fs/cgroup" / group.lstrip("/")
    write(Path(host.proc.root), {"self/mountinfo": f"1 1 0:1 / {host.sys}/fs/cgroup rw - cgroup2 cgroup2 rw\n"})
    path.mkdir(parents=True, exist_ok=True)
    with (path / "cgroup.procs").open("a") as file:
        file.write(f"{pid}\n")


def test_cgroups_alone_tell_the_running_ones(host):
    container_process(host, 20, nspid="1")
    (state,) = engines.from_cgroups(host)
    assert (state.engine, state.id, state.status, state.source) == ("docker", ID, "running", "cgroup")


def test_the_first_process_is_number_one_inside(host):
    container_process(host, 30, nspid="7", start_ticks=1)
    container_process(host, 31, nspid="1", start_ticks=5)
    container_process(host, 32, nspid="12 1", start_ticks=9)  # number one of a namespace further in
    container_process(host, 33, nspid="1", start_ticks=0, state="Z")
    (state,) = engines.from_cgroups(host)
    assert engines.main_pid(host, state, PidView(host)) == (31, f"/system.slice/docker-{ID}.scope")


def test_with_the_hosts_pids_the_oldest_is_the_first(host):
    container_process(host, 40, start_ticks=9)
    container_process(host, 41, start_ticks=3)
    (state,) = engines.from_cgroups(host)
    assert engines.main_pid(host, state, PidView(host))[0] == 41


def test_a_stale_pid_is_none(host):
    """The state file's PID is another process by now; the cgroup tells who the container is, or that it is gone."""
    container_process(host, 50, group="/system.slice/other.service")
    state = engine_files.engine_parse.task("moby", ID, {}, 50)
    assert engines.main_pid(host, state, PidView(host)) == (None, "")
    container_process(host, 51, nspid="1")
    assert engines.main_pid(host, state, PidView(host))[0] == 51


def test_what_is_gone_is_said(host):
    state = engine_files.engine_parse.task("moby", ID, {}, 50)
    with pytest.raises(NoSuchTarget, match=f"container {ID[:12]} is gone"):
        engines.look(host, state, None, Daemons(), 1.0)
