"""Services of the distribution, stripped and years old: their goroutines as they tell them themselves."""

from __future__ import annotations

import json
import os
import socket
import urllib.error
from contextlib import ExitStack
from pathlib import Path

import pytest
from gotriage.goruntime.runtime import attach

from tests.lab import gotrace
from tests.lab.process import Start, started

pytestmark = pytest.mark.real
SERVICES = ("prometheus", "etcd", "caddy", "nats-server")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def command(name: str, folder: Path, address: str) -> tuple[str, ...]:
    """The service with its net/http/pprof at the address."""
    local = "http://127.0.0.1:0"
    if name == "prometheus":
        (folder / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
        files = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
        return "/usr/bin/prometheus", *files, f"--web.listen-address={address}"
    if name == "etcd":
        peers = (f"--listen-peer-urls={local}", f"--initial-advertise-peer-urls={local}")
        clients = (f"--listen-client-urls=http://{address}", f"--advertise-client-urls=http://{address}")
        members = f"--initial-cluster=default={local}"
        return "/usr/bin/etcd", f"--data-dir={folder}/data", "--enable-pprof", *clients, *peers, members
    if name == "caddy":
        (folder / "caddy.json").write_text(json.dumps({"admin": {"listen": address}}))
        return "/usr/bin/caddy", "run", "--config", f"{folder}/caddy.json"
    (folder / "nats.conf").write_text(f"listen: 127.0.0.1:-1\nprof_port: {address.rpartition(':')[2]}\n")
    return "/usr/sbin/nats-server", "-c", f"{folder}/nats.conf"


@pytest.fixture(params=SERVICES)
def told(request, tmp_path):
    """A running service and where it tells of itself."""
    address = f"127.0.0.1:{free_port()}"
    words = command(request.param, tmp_path, address)
    env = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    with ExitStack() as stack:
        start = Start(Path(words[0]), words[1:], ready=False, env=env, cwd=tmp_path)
        running = stack.enter_context(started(start))
        running.wait_for(lambda: answers(address))
        yield running, address


def answers(address: str) -> bool:
    try:
        return bool(gotrace.fetch(address, timeout=5))
    except (urllib.error.URLError, OSError):
        return False


def test_their_goroutines_are_as_they_print_them(told):
    """What moves between the two looks is not comparable: one pair of looks in which all stands still is enough."""
    running, address = told
    with attach(running.pid) as runtime:
        assert (runtime.identity.stripped, runtime.identity.located) == (True, "operands")
        seen: list[list[str]] = []

        def the_same() -> bool:
            dump, theirs = runtime.dump(rows=5000), gotrace.fetch(address)
            assert len({one.id for one in dump.goroutines} & theirs.keys()) > 5
            seen.append(gotrace.differences(dump, theirs))
            return not seen[-1]

        running.wait_for(the_same)
        assert not runtime.counters().problems
