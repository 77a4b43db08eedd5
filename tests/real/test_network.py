"""The network view in real namespaces: what it shows, and the findings of faults planted there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
from gotriage.collectors.network import NetworkCollector
from gotriage.collectors.network.rows import MOST
from gotriage.errors import TargetGone
from gotriage.host import Host
from gotriage.records.network import Network
from gotriage.records.stream import Gap

from tests.lab.process import wait_until
from tests.real.checks import GOTRIAGE, check, ids
from tests.real.targets import target_of

pytestmark = pytest.mark.real

_numbers = count()
ENTER = 'ip link set lo up; {more}; exec "$0" "$@"'


def alone(*more):
    """The words before a command that put it into a network namespace of its own, and set that up."""
    return ("unshare", "-n", "/bin/sh", "-c", ENTER.format(more="; ".join(more) or ":"))


@contextmanager
def helper(code, *words, inside=None):
    """A Python program, in the network namespace of a process; it runs once it has said a line, which is given."""
    enter = ("nsenter", "-t", str(inside), "-n") if inside else ()
    words = [*enter, sys.executable, "-I", "-c", code, *map(str, words)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline().strip()
            assert line, "the helper ended"
            yield line
        finally:
            process.kill()


class Looks:
    """Looks of one collector, each at once."""

    def __init__(self, *pids):
        self._collector = NetworkCollector(Host(), target_of(*pids))

    def __call__(self):
        self._collector._not_before = 0.0
        return next(record for record in self._collector.collect() if isinstance(record, Network))


def found_by(words, rule):
    return next((finding for finding in check(*words)[0] if finding["id"] == rule), None)


# -- what is shown


@pytest.fixture
def veth():
    """Two namespaces joined by a cable: the names of both, 10.77.0.1 here and 10.77.0.2 there."""
    number = next(_numbers)
    names = [f"gt{os.getpid()}-{number}{side}" for side in "ab"]
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        ends = ["type", "veth", "peer", "name", "vb", "netns", names[1]]
        subprocess.run(["ip", "-n", names[0], "link", "add", "va", *ends], check=True)
        for name, device, host in zip(names, ("va", "vb"), ("10.77.0.1", "10.77.0.2"), strict=True):
            subprocess.run(["ip", "-n", name, "addr", "add", f"{host}/24", "dev", device], check=True)
            for link in (device, "lo"):
                subprocess.run(["ip", "-n", name, "link", "set", link, "up"], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


CLIENTS = """
import socket, sys, time
keep = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(int(sys.argv[3]))]
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_service_in_a_namespace_of_its_own(service, veth):
    here, there = veth
    running = service("svc", "-listen=10.77.0.1:8080", ready=False, wrapper=("ip", "netns", "exec", here))
    subprocess.run(["ip", "-n", here, "route", "add", "blackhole", "10.88.0.0/16"], check=True)
    subprocess.run(["ip", "-n", here, "route", "add", "default", "via", "10.77.0.2"], check=True)
    looks = Looks(running.pid)
    wait_until(lambda: looks().by_state.get("tcp LISTEN"))
    with ExitStack() as stack:
        other = stack.enter_context(subprocess.Popen(["ip", "netns", "exec", there, "sleep", "60"]))
        stack.callback(other.kill)
        wait_until(lambda: os.readlink(f"/proc/{other.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        stack.enter_context(helper(CLIENTS, "10.77.0.1", 8080, 5, inside=other.pid))
        wait_until(lambda: looks().by_state.get("tcp ESTABLISHED") == 5)
        record = looks()
    listening, peer = record.rows[:2]
    assert (listening.what, listening.local, listening.count, listening.own) == ("listen", "10.77.0.1:8080", 5, True)
    assert (listening.process, listening.pid, listening.drops) == ("svc", running.pid, 0)
    assert (peer.what, peer.local, peer.peer, peer.count) == ("in", ":8080", "10.77.0.2", 5)
    assert peer.states == {"ESTABLISHED": 5}
    assert 0 < peer.rtt <= peer.rtt_longest < 1
    assert not record.shared
    assert record.namespace == os.readlink(f"/proc/{running.pid}/ns/net")
    interface = next(one for one in record.interfaces if one.name == "va")
    assert (interface.state, interface.addresses[0]) == ("up", "10.77.0.1/24")
    assert interface.recv_bytes > 0
    assert [(route.kind, route.to, route.via) for route in record.routes][:1] == [("", "default", "10.77.0.2")]
    assert any((route.kind, route.to) == ("blackhole", "10.88.0.0/16") for route in record.routes)
    assert record.ports == 60999 - 32768 + 1


SOCKETS = """
import os, socket, sys
path = sys.argv[1]
unix = socket.socket(socket.AF_UNIX); unix.bind(path); unix.listen(7)
ends = socket.socket(socket.AF_UNIX); ends.connect(path)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0))
udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
for _ in range(50): ends6 = udp.sendto(b"x" * 1000, udp.getsockname())
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); netlink.bind((0, 0))
six = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
four = socket.create_connection(("127.0.0.1", six.getsockname()[1]))
print(os.getpid(), udp.getsockname()[1], six.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_sockets_of_every_family(tmp_path):
    with helper(SOCKETS, tmp_path / "s\x1b[2J") as said:
        pid, udp, six = map(int, said.split())
        record = Looks(pid)()
    rows = {(row.what, row.protocol): row for row in record.rows if row.own}
    assert rows["listen", "unix"].local == f"{tmp_path}/s\u241b[2J"
    assert (rows["listen", "unix"].recv_queue, rows["listen", "unix"].send_queue) == (1, 7)
    waiting = rows["listen", "udp"]
    assert (waiting.local, waiting.state) == (f"127.0.0.1:{udp}", "UNCONN")
    assert waiting.drops > 0
    assert rows["socket", "netlink"].local.startswith("route:")
    assert rows["listen", "tcp6"].local == f"[::]:{six}"
    assert rows["listen", "tcp6"].recv_queue == 1
    assert rows["out", "tcp"].peer == f"127.0.0.1:{six}"
    assert record.shared


PAIRS = """
import os, resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
server = socket.create_server(("127.0.0.1", 0))
keep = []
for _ in range(int(sys.argv[1])):
    keep += [socket.create_connection(server.getsockname()), server.accept()[0]]
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_more_sockets_than_are_listed():
    with helper(PAIRS, 300) as said:
        record = Looks(int(said))()
    assert record.by_state["tcp ESTABLISHED"] == 600
    assert sum(row.what == "socket" for row in record.rows) == MOST["socket"]
    assert record.omitted == {"socket": 600 - MOST["socket"]}
    peers = [(row.what, row.count) for row in record.rows if row.what in ("in", "out")]
    assert sorted(peers) == [("in", 300), ("out", 300)]


@pytest.mark.slow
def test_a_hundred_thousand_sockets():
    with ExitStack() as stack:
        pids = [int(stack.enter_context(helper(PAIRS, 8500))) for _ in range(6)]
        record = Looks(*pids)()
    assert record.by_state["tcp ESTABLISHED"] == 102_000
    assert sum(record.omitted.values()) == 102_000 - MOST["socket"]


def test_a_process_in_another_namespace_and_one_that_ends(service):
    with subprocess.Popen([*alone(), "sleep", "60"]) as other:
        running = service("svc", "-listen=127.0.0.1:0")
        try:
            wait_until(lambda: os.readlink(f"/proc/{other.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
            found = list(NetworkCollector(Host(), target_of(running.pid, other.pid)).collect())
            looks = Looks(other.pid)
            assert not looks().shared
        finally:
            other.kill()
    assert [(one.source, one.reason) for one in found if isinstance(one, Gap)] == [
        ("network.elsewhere", "1 of 2 processes are in other network namespaces")
    ]
    with pytest.raises(TargetGone):
        looks()


def test_a_target_that_may_not_be_looked_at(service):
    running = service("svc", "-listen=127.0.0.1:0")
    nobody = ("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all")
    words = [*nobody, GOTRIAGE, "show", "network", "--pid", str(running.pid)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert "Traceback" not in done.stderr
    assert f"Unknown  network: /proc/{running.pid}/ns/net: permission denied" in done.stdout
    assert "run gotriage as root" in done.stdout


def test_shown_as_json(service):
    running = service("svc", "-listen=127.0.0.1:0")
    words = [GOTRIAGE, "show", "network", "--json", "--pid", str(running.pid)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    facts, first = json.loads(lines[0]), json.loads(lines[1])
    assert facts["kind"] == "network"
    assert facts["somaxconn"] == int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert (first["what"], first["local"]) == ("listen", running.address)


# -- faults


def test_connections_that_are_left_in_close_wait(service):
    running = service("svc", "-leak-fds=20", "-leak-kind=socket", "-leak-max=12", ready=False, wrapper=alone())
    looks = Looks(running.pid)
    wait_until(lambda: sum(row.stuck for row in looks().rows if row.what == "out") >= 10, seconds=30)
    finding = found_by(("--pid", running.pid), "close-wait-leak")
    assert finding["severity"] == "warning"
    assert "sockets left in CLOSE_WAIT to 127.0.0.1:" in finding["title"]
    assert finding["view"] == "network"


MANY = """
import socket, sys, time
keep = []
for _ in range(40):
    one = socket.socket(); one.setblocking(False); one.connect_ex((sys.argv[1], int(sys.argv[2]))); keep.append(one)
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_service_that_accepts_nothing_any_more(service):
    bound = "echo 16 >/proc/sys/net/core/somaxconn"
    running = service("svc", "-listen=127.0.0.1:8080", ready=False, wrapper=alone(bound))
    looks = Looks(running.pid)
    wait_until(lambda: looks().by_state.get("tcp LISTEN"))
    assert "listen-backlog-overflow" not in ids("--pid", running.pid)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        with helper(MANY, "127.0.0.1", 8080, inside=running.pid):
            wait_until(lambda: looks().rows[0].recv_queue > 16)
            finding = found_by(("--pid", running.pid), "listen-backlog-overflow")
    finally:
        os.kill(running.pid, signal.SIGCONT)
    assert finding["severity"] == "critical"
    assert "127.0.0.1:8080" in finding["title"]
    assert "nsenter -t" in finding["fix"]
    assert "(now 16)" in finding["fix"]


ANSWERS = """
import socket
server = socket.create_server(("127.0.0.1", 9090))
print("ready", flush=True)
while True:
    one = server.accept()[0]
    one.recv(1)
    one.close()
"""


def test_ports_that_run_out(service):
    few = ("echo 40000 40019 >/proc/sys/net/ipv4/ip_local_port_range", "echo 0 >/proc/sys/net/ipv4/tcp_tw_reuse")
    running = service("svc", "-dial=127.0.0.1:9090", ready=False, wrapper=alone(*few))
    wait_until(lambda: b"svc" in Path(f"/proc/{running.pid}/comm").read_bytes())
    with helper(ANSWERS, inside=running.pid):
        looks = Looks(running.pid)
        wait_until(lambda: sum(use.used for use in looks().port_use) == 20, seconds=30)
        finding = found_by(("--pid", running.pid), "port-exhaustion")
    assert finding["severity"] == "critical"
    assert finding["title"].startswith("100 % of the ports to 127.0.0.1:9090 are taken")


def test_a_peer_that_never_answers(service, veth):
    here, there = veth
    subprocess.run(["ip", "-n", there, "route", "add", "blackhole", "10.77.0.1/32"], check=True)
    patient = ("-dial=10.77.0.2:81", "-dial-timeout=1m")
    running = service("svc", *patient, ready=False, wrapper=("ip", "netns", "exec", here))
    looks = Looks(running.pid)
    wait_until(lambda: any(row.unanswered for row in looks().rows if row.what == "out"), seconds=30)
    finding = found_by(("--pid", running.pid), "peer-timeout")
    assert finding["subject"] == "10.77.0.2:81"
    assert finding["view"] == "network"


def test_a_listener_in_passing_and_a_well_service(service):
    running = service("svc", "-listen=127.0.0.1:0", "-tick=500ms")
    host, _, port = running.address.rpartition(":")
    for _ in range(20):
        socket.create_connection((host, int(port))).close()
    assert ids("--pid", running.pid) == []
