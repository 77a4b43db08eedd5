"""How services look names up, and name servers that are ill, in network and mount namespaces of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from gotriage.collectors.dns.settings import DnsCollector
from gotriage.host import Host, dnsask, nameless
from gotriage.host.dnsask import Query
from gotriage.host.inroot import InRoot

from tests.lab import toolchain
from tests.lab.process import Start, started
from tests.real.checks import GOTRIAGE, check
from tests.real.targets import target_of

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of their own take root")]
SERVER = Path(__file__).parents[1] / "lab" / "nameserver.py"
ENTER = 'ip link set lo up && {} exec "$0" "$@"'


@contextmanager
def inside(tmp_path, *arguments, servers=(), cgo=False, go=toolchain.NEWEST, env=None, **files):
    """outward in namespaces of its own, with these files of /etc; its name servers run in its network."""
    binds = []
    for name, text in files.items():
        path = tmp_path / name
        path.write_text(text)
        binds.append(f"mount --bind {path} /etc/{name.replace('_', '.')} &&")
    wrapper = ("unshare", "--net", "--mount", "sh", "-c", ENTER.format(" ".join(binds)))
    how = Start(toolchain.build("outward", go=go, cgo=cgo), arguments, wrapper=wrapper, env=env)
    with started(how) as running:
        enter = ["nsenter", "-t", str(running.pid), "-n", sys.executable, "-I", str(SERVER), *servers]
        server = subprocess.Popen(enter, stdout=subprocess.PIPE) if servers else None
        try:
            assert server is None or server.stdout.readline() == b"ready\n"
            yield running
        finally:
            if server is not None:
                server.kill()
                server.communicate()


def show(running, *words):
    """The records of `show dns`, by kind."""
    done = subprocess.run(
        [GOTRIAGE, "show", "dns", "--json", "--pid", str(running.pid), *words],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {record["kind"]: record for record in map(json.loads, done.stdout.splitlines())}


def ask(running, *options):
    words = [word for option in options for word in ("--option", option)]
    return show(running, "--trace", "dns_checks", *words)["dns_checks"]


def traps(record):
    return {trap["id"] for trap in record.get("traps", ())}


def test_the_settings_and_their_traps_as_go_sees_them(tmp_path):
    conf = "nameserver 127.83.1.1\nsearch a.test b.test\noptions ndots:5 timeout:9\n"
    hosts = "127.0.0.1 localhost\n10.0.0.1 db.test\n10.0.0.2 db.test\n"
    with inside(tmp_path, resolv_conf=conf, hosts=hosts, env={**os.environ, "UPSTREAM": "https://api.ok.test/x"}) as it:
        seen = show(it)
    dns = seen["dns"]
    assert "dns_checks" not in seen, "nothing is asked by itself"
    assert (dns["resolver"], dns["ndots"], dns["search"]) == ("go", 5, ["a.test", "b.test"])
    assert dns["names"] == ["api.ok.test"]
    assert [(server["address"], server["listening"]) for server in dns["servers"]] == [("127.83.1.1", False)]
    assert traps(dns) >= {"loopback-server", "search-amplification", "hosts-twice"}


def test_libc_is_asked_where_go_does_not_know_the_settings(tmp_path):
    conf = "nameserver 127.83.1.1\noptions debug\n"
    with inside(tmp_path, cgo=True, resolv_conf=conf) as it:
        assert show(it)["dns"]["resolver"] == "cgo"
    with inside(tmp_path, cgo=True, resolv_conf=conf, env={**os.environ, "GODEBUG": "netdns=go"}) as it:
        assert show(it)["dns"]["resolver"] == "go"


CONF = "nameserver 127.83.1.1\n"
CASES = {
    "plain": (CONF, "hosts: files dns\n", {}),
    "nothing of hosts": (CONF, "passwd: files\n", {}),
    "dns first": (CONF, "hosts: dns files\n", {}),
    "only files": (CONF, "hosts: files\n", {}),
    "a module": (CONF, "hosts: files resolve dns\n", {}),
    "multicast": (CONF, "hosts: files mdns4_minimal [NOTFOUND=return] dns myhostname\n", {}),
    "criteria": (CONF, "hosts: files [SUCCESS=continue] dns\n", {}),
    "usual criteria": (CONF, "hosts: files [SUCCESS=return NOTFOUND=continue] dns\n", {}),
    "unknown option": (CONF + "options inet6\n", "hosts: files dns\n", {}),
    "unknown line": (CONF + "sortlist 1.2.3.4\n", "hosts: files dns\n", {}),
    "known options": (CONF + "options edns0 trust-ad ndots:3 rotate\n", "hosts: files dns\n", {}),
    "variable": (CONF, "hosts: files dns\n", {"RES_OPTIONS": "ndots:3"}),
    "empty variable": (CONF, "hosts: files dns\n", {"LOCALDOMAIN": ""}),
    "go wanted": (CONF + "options inet6\n", "hosts: files resolve dns\n", {"GODEBUG": "netdns=go+2"}),
    "cgo wanted": (CONF, "hosts: files dns\n", {"GODEBUG": "netdns=cgo+2"}),
}
USUAL = ("plain", "a module", "unknown option", "variable")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in USUAL else [pytest.mark.slow]) for case in CASES]
)
@pytest.mark.parametrize(
    ("cgo", "go"),
    [
        pytest.param(True, toolchain.NEWEST, id="cgo"),
        pytest.param(False, toolchain.NEWEST, id="pure Go", marks=pytest.mark.slow),
        pytest.param(True, "1.18.10", id="cgo, Go 1.18", marks=pytest.mark.slow),
        pytest.param(True, "1.21.13", id="cgo, Go 1.21", marks=pytest.mark.slow),
    ],
)
def test_the_resolver_is_the_one_that_go_says_it_takes(tmp_path, case, cgo, go):
    """By the program's own account: GODEBUG=netdns=2 has package net write the order of each look-up."""
    conf, nsswitch, env = CASES[case]
    env = {**os.environ, "GODEBUG": "netdns=2", **env}
    with inside(tmp_path, "-lookup=x.test", cgo=cgo, go=go, env=env, resolv_conf=conf, nsswitch_conf=nsswitch) as it:
        it.wait_for(lambda: "hostLookupOrder(x.test) = " in it.log)
        said = it.log.partition("hostLookupOrder(x.test) = ")[2].split()[0]
        (dns,) = DnsCollector(Host(), target_of(it.pid)).collect()
    assert said == ("cgo" if dns.resolver == "cgo" else dns.order.replace(" ", ","))


@pytest.mark.slow
def test_servers_that_are_ill_each_in_its_way(tmp_path):
    conf = "nameserver 127.83.1.1\nnameserver 127.83.1.2\nsearch a.test\noptions ndots:2 timeout:3\n"
    servers = ["127.83.1.1=dead", "127.83.1.2=ok", "127.83.1.3=flood", "127.83.1.8=noise"]
    hosts = "10.7.7.7 ok.test\n"
    with inside(tmp_path, servers=servers, resolv_conf=conf, hosts=hosts) as it:
        first = ask(it, "name=ok.test", "timeout=1")
        assert traps(first) >= {"dead-first-server", "stale-hosts-entry"}
        assert (first["names"][0]["by"], first["names"][0]["addresses"]) == ("hosts file", ["10.7.7.7"])
        flooded = ask(it, "name=ok.test.", "server=127.83.1.3", "timeout=2")
        assert any("10.1.2.3" in row.get("addresses", ()) for row in flooded["rows"])
        deaf = ask(it, "name=ok.test.", "server=127.83.1.8", "timeout=2")
        assert {row["error"] for row in deaf["rows"] if row["server"] == "127.83.1.8"} == {
            "it sends again and again what was not asked for"
        }


@pytest.mark.slow
def test_other_ways_to_be_ill(tmp_path):
    servers = ["127.83.1.4=cut", "127.83.1.5=servfail", "127.83.1.6=four"]
    with inside(tmp_path, servers=servers, resolv_conf="nameserver 127.83.1.4\n") as it:
        cut = ask(it, "name=ok.test.", "server=127.83.1.4")
        assert {row["transport"] for row in cut["rows"] if row["server"] == "127.83.1.4"} >= {"udp", "tcp"}
        assert "tcp-blocked" not in traps(cut)
        assert "server-refuses" in traps(ask(it, "name=ok.test.", "server=127.83.1.5"))
        assert "aaaa-delay" in traps(ask(it, "name=ok.test.", "server=127.83.1.6", "timeout=1"))
        silent = ask(it, "name=x.test.", "server=127.83.1.9", "timeout=1")
        assert traps(silent) >= {"all-servers-dead"}
        assert "connection refused" in silent["rows"][0]["error"]


def test_a_search_list_multiplies_the_questions(tmp_path):
    conf = "nameserver 127.83.1.2\nsearch a.test b.test\noptions ndots:5\n"
    with inside(tmp_path, servers=["127.83.1.2=ok"], resolv_conf=conf) as it:
        name = ask(it, "name=ok.test")["names"][0]
    assert (name["questions"], name["in_vain"], name["asked_as"]) == (6, 4, "ok.test.")


def found(running, rule):
    """The findings of a rule while the service logs."""
    return [one for one in check("--pid", running.pid, "--for", "3s")[0] if one["id"] == rule]


def test_a_name_that_does_not_exist_is_a_finding_and_one_that_does_is_none(tmp_path):
    conf = "nameserver 127.83.1.2\nsearch a.test\n"
    with inside(tmp_path, "-lookup=orders.test", servers=["127.83.1.2=ok"], resolv_conf=conf) as it:
        (finding,) = found(it, "dns-failure")
    assert finding["severity"] == "warning"
    assert finding["subject"] == "orders.test"
    assert any("search a.test" in text for text in finding["evidence"])
    with inside(tmp_path, "-lookup=ok.test", servers=["127.83.1.2=ok"], resolv_conf=conf) as it:
        assert check("--pid", it.pid, "--for", "3s")[0] == []


@pytest.mark.slow
def test_a_resolver_of_another_network_namespace_is_critical(tmp_path):
    with inside(tmp_path, "-lookup=orders.test", resolv_conf="nameserver 127.0.0.53\n") as it:
        finding = found(it, "dns-failure")[0]
    assert finding["severity"] == "critical"
    assert any("nothing listens on its port 53" in text for text in finding["evidence"])


def test_a_container_from_scratch_with_a_network_of_its_own(engine, sdlab):
    """Without nsswitch.conf; its resolver is an address that means another machine there; in a user namespace, too."""
    if engine.name == "podman":
        options = ("--user=1000:1000", "--read-only", "--uidmap=0:100000:65536")  # no network: no resolv.conf
    else:
        options = ("--user=1000:1000", "--read-only", "--cap-drop=ALL", "--dns=127.0.0.53", "--dns-search=corp.test")
    engine.run("names", engine.image(toolchain.build("outward")), "-lookup=api.corp.test", options=options)
    words = ("--root-pid", sdlab.pid, "--container", "names")
    (finding,) = [one for one in check(*words, "--for", "3s")[0] if one["id"] == "dns-failure"]
    assert finding["severity"] == "critical"
    expected = "/etc/resolv.conf: missing" if engine.name == "podman" else "nothing listens on its port 53"
    assert any(expected in text for text in finding["evidence"])
    running = SimpleNamespace(pid=engine.pid("names"))
    assert "all-servers-dead" in traps(ask(running, "name=api.corp.test"))


def test_no_child_is_left_and_a_target_that_is_gone_is_an_error(tmp_path):
    servers = ["127.83.1.3=flood"]
    with inside(tmp_path, servers=servers, resolv_conf="nameserver 127.83.1.3\n") as it:
        net = f"/proc/{it.pid}/ns/net"
        queries = [Query("127.83.1.3", f"{number}.test.", kind) for number in range(40) for kind in ("A", "AAAA")]
        replies = dnsask.ask(net, queries, 2.0)
        assert len(replies) == 80
        fds = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            dnsask.ask(net, queries[:2], 1.0)
        assert len(os.listdir("/proc/self/fd")) == fds
    with pytest.raises(OSError, match="No such"):
        dnsask.ask(net, queries, 1.0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@contextmanager
def cabled(running, *manners):
    """A process in a namespace of its own as 10.83.0.2, by a veth pair to the service's, which is 10.83.0.1."""
    other = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    enter = ["nsenter", "-n", "-t", str(running.pid)]
    try:
        ours = os.readlink("/proc/self/ns/net")
        running.wait_for(lambda: os.readlink(f"/proc/{other.pid}/ns/net") != ours)
        for words in (
            [*enter, "ip", "link", "add", "in", "type", "veth", "peer", "name", "out", "netns", str(other.pid)],
            [*enter, "ip", "addr", "add", "10.83.0.1/24", "dev", "in"],
            [*enter, "ip", "link", "set", "in", "up"],
            ["nsenter", "-n", "-t", str(other.pid), "ip", "addr", "add", "10.83.0.2/24", "dev", "out"],
            ["nsenter", "-n", "-t", str(other.pid), "ip", "link", "set", "out", "up"],
        ):
            subprocess.run(words, check=True)
        server = subprocess.Popen(
            ["nsenter", "-n", "-t", str(other.pid), sys.executable, "-I", str(SERVER), *manners], stdout=subprocess.PIPE
        )
        try:
            assert server.stdout.readline() == b"ready\n"
            yield ["nsenter", "-n", "-t", str(other.pid)]
        finally:
            server.kill()
            server.communicate()
    finally:
        other.kill()
        other.wait()


@pytest.mark.slow
def test_a_server_behind_a_firewall_that_lets_only_udp_through(tmp_path):
    conf = "nameserver 10.83.0.2\n"
    with inside(tmp_path, resolv_conf=conf) as it, cabled(it, "10.83.0.2=cut") as there:
        found = ask(it, "name=ok.test.")
        assert next(row["addresses"] for row in found["rows"] if row["transport"] == "tcp") == ["10.1.2.3"]
        chain = "add table inet f; add chain inet f i { type filter hook input priority 0; }"
        rules = f"{chain}; add rule inet f i tcp dport 53 drop"
        subprocess.run([*there, "nft", rules], check=True)
        assert "tcp-blocked" in traps(ask(it, "name=ok.test.", "timeout=1"))
        subprocess.run([*there, "nft", "add rule inet f i udp dport 53 drop"], check=True)
        assert traps(ask(it, "name=ok.test.", "timeout=1")) == {"all-servers-dead"}


def test_a_peers_name_is_found_as_the_target_would(tmp_path):
    servers = ["127.83.1.2=ok"]
    with inside(tmp_path, servers=servers, resolv_conf="nameserver 127.83.1.2\n", hosts="10.7.7.7 db.test\n") as it:
        net = f"/proc/{it.pid}/ns/net"
        with InRoot(f"/proc/{it.pid}/root") as root:
            found = {
                name: nameless.addresses(root, net, name) for name in ("ok.test", "DB.test", "x.test", "[::1]", "")
            }
    assert found == {"ok.test": ["10.1.2.3"], "DB.test": ["10.7.7.7"], "x.test": [], "[::1]": ["::1"], "": []}
