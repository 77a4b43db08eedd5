"""No finding on healthy services, idle, loaded, and those of the distribution."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.process import Start, started
from tests.real.checks import check, ids

pytestmark = pytest.mark.real


# -- the healthy


def test_a_healthy_service_that_idles(service):
    assert check("--pid", service("healthy", "-rate=0").pid) == [[], 0]


def test_a_healthy_service_under_load(service, quick):
    assert check("--pid", service("healthy", "-rate=400").pid, *quick) == [[], 0]


def test_a_healthy_unit(unit, in_lab):
    assert check(*in_lab(unit("-tick=200ms", "Type=notify"))) == [[], 0]


def test_a_healthy_container(docker, build, sdlab):
    docker.run("well", docker.image(build("healthy")))
    assert check("--root-pid", sdlab.pid, "--container", "well") == [[], 0]


@pytest.mark.slow
def test_rising_load_is_no_leak(service, quick):
    """Clients that come one after the other and stay, as on a morning: every one is a descriptor more."""
    running = service("healthy", "-rate=0")
    host, _, port = running.address.rpartition(":")
    stop = threading.Event()

    def customers(stack):
        while not stop.wait(0.1):
            client = stack.enter_context(socket.create_connection((host, int(port))))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    with ExitStack() as stack:
        thread = threading.Thread(target=customers, args=(stack,))
        thread.start()
        try:
            time.sleep(0.5)
            assert ids("--pid", running.pid, *quick) == []
        finally:
            stop.set()
            thread.join()


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    """Services of the distribution, all started at once: name to what runs."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("debian")
        yield {name: stack.enter_context(started(how)) for name, how in distribution(folder).items()}


NGINX = """
daemon off; worker_processes 2; error_log {folder}/error.log; pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; server {{ listen 127.0.0.1:0; }} }}
"""
DEBIAN = ("nginx", "prometheus", "etcd", "caddy", "nats-server")


def distribution(folder):
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder).replace("127.0.0.1:0", f"unix:{folder}/nginx.sock"))
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
    local = "http://127.0.0.1:0"
    arguments = {
        "nginx": ("/usr/sbin/nginx", "-c", f"{folder}/nginx.conf", "-p", f"{folder}"),
        "prometheus": (
            "/usr/bin/prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus",
            "--web.listen-address=127.0.0.1:0",
        ),
        "etcd": (
            "/usr/bin/etcd",
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls={local}",
            f"--advertise-client-urls={local}",
            f"--listen-peer-urls={local}",
            f"--initial-advertise-peer-urls={local}",
            f"--initial-cluster=default={local}",
        ),
        "caddy": ("/usr/bin/caddy", "file-server", "--listen", "127.0.0.1:0", "--root", f"{folder}"),
        "nats-server": ("/usr/sbin/nats-server", "-a", "127.0.0.1", "-p", "-1"),
    }
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return {
        name: Start(Path(words[0]), tuple(words[1:]), ready=False, env=env, cwd=folder)
        for name, words in arguments.items()
    }


@pytest.mark.parametrize("name", DEBIAN)
def test_services_of_the_distribution_are_healthy(debian, name):
    running = debian[name]
    running.alive()
    assert check("--pid", running.pid) == [[], 0], running.log[-2000:]
