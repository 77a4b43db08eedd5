"""Files of resolvers and answers of name servers that are made to hurt; what looking a name up comes to."""

from __future__ import annotations

import os
import random
import struct

import pytest
from gotriage.collectors.dns import walk
from gotriage.collectors.dns.files import parse_hosts, parse_nsswitch, parse_resolv_conf
from gotriage.collectors.dns.names import given_names
from gotriage.collectors.dns.settings import listeners, read_files
from gotriage.host import dnswire
from gotriage.host.inroot import InRoot
from gotriage.records.dns import Answer, HostsEntry

DICE = 20_261


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc").mkdir()
    with InRoot(str(tmp_path)) as opened:
        yield tmp_path / "etc", opened


def sparse(path):
    with path.open("wb") as file:
        file.truncate(10 << 30)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/etc/hostname"), "missing"),
        (lambda path: path.symlink_to("../../../../../../etc/passwd"), "missing"),
        (sparse, ""),
        (lambda path: path.write_bytes(random.Random(DICE).randbytes(100_000)), ""),
    ],
    ids=["fifo", "directory", "loop", "link to the host", "way out", "10 GB", "noise"],
)
def test_a_trap_in_place_of_a_file_is_no_more_than_a_reason(root, make, reason):
    folder, opened = root
    for name in ("resolv.conf", "nsswitch.conf", "hosts"):
        make(folder / name)
    files = read_files(opened)
    assert (files.conf_error, files.hosts_error) == (reason, reason)
    assert files.conf.servers == []


def test_lines_that_are_too_many_and_names_with_control_characters():
    conf = parse_resolv_conf(b"nameserver 10.0.0.1\n" * 10_000 + b"search " + b"a\x1b[2J.test " * 1000)
    assert len(conf.servers) == 3
    assert len(conf.extra) <= 16
    assert len(conf.search) <= 64
    assert "\x1b" not in "".join(conf.search)
    hosts = parse_hosts(b"10.0.0.1 db\x1b]0;x\x07\nnot.an.address db\n::1 six # seven\n")
    assert [(entry.address, len(entry.names)) for entry in hosts] == [("10.0.0.1", 1), ("::1", 1)]
    assert "\x1b" not in hosts[0].names[0]


def test_numbers_are_held_within_what_go_allows():
    conf = parse_resolv_conf(
        b"options ndots:99 timeout:0 attempts:x rotate inet6\ndomain a.test\nsearch b.test c.test\n"
    )
    assert (conf.ndots, conf.timeout, conf.attempts, conf.unknown, conf.search) == (
        15,
        1,
        1,
        ["inet6"],
        ["b.test", "c.test"],
    )


def test_criteria_of_nsswitch():
    places = parse_nsswitch(b"hosts: files [NOTFOUND=return] dns [!UNAVAIL=return] # end\n")
    assert [tuple(place) for place in places] == [("files", False), ("dns", False)]
    with pytest.raises(ValueError, match="criteria"):
        parse_nsswitch(b"hosts: [NOTFOUND=return] dns\n")


def test_names_of_arguments_and_variables_and_no_secrets():
    argv = [
        "svc",
        "-db=postgres://user:hunter2@db.internal:5432/orders",
        "--brokers",
        "k1.internal:9092,k2.internal:9092",
    ]
    env = {"API_TOKEN": "ghp.example:1234", "CACHE_URL": "redis://cache.internal", "DSN": "user=x host=pg.internal",
           "LISTEN": "127.0.0.1:80", "ADDR": "localhost:80"}  # fmt: skip
    assert given_names(argv, env) == ["db.internal", "k1.internal", "k2.internal", "cache.internal", "pg.internal"]


def test_listeners_of_port_53():
    table = "sl local\n 0: 0100007F:0035 00000000:0000 07\n 1: 00000000:0044 00000000:0000 07\n 2: junk\n\n"
    assert listeners(table) == {"127.0.0.1"}


# -- messages


def message(answers, flags=0x8180, name=b"\2ok\4test\0"):
    head = struct.pack("!HHHHHH", 7, flags, 1, len(answers), 0, 0)
    return head + name + struct.pack("!HH", 1, 1) + b"".join(answers)


def record(kind, raw, name=b"\xc0\x0c"):
    return name + struct.pack("!HHIH", kind, 1, 60, len(raw)) + raw


def test_an_answer_is_read_whole():
    data = message([record(5, b"\1x\xc0\x0c"), record(1, b"\x0a\1\2\3"), record(99, b"??")])
    assert dnswire.parse(data).answers == (("CNAME", "x.ok.test", 60), ("A", "10.1.2.3", 60))
    assert dnswire.asked(data, 7, "ok.test.", "A")
    assert not dnswire.asked(data, 8, "ok.test.", "A")
    assert not dnswire.asked(data, 7, "other.test.", "A")
    assert not dnswire.asked(data, 7, "ok.test.", "AAAA")


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 11, message([record(1, b"\x0a\1\2\3", name=b"\xc0\xff")]), message([record(5, b"\xc0\x25")]),
     message([record(1, b"\x0a")])[:-1], message([], name=b"\x41" * 300)],
    ids=["empty", "short", "pointer out", "pointer loop", "cut", "label"],
)  # fmt: skip
def test_bad_answers_are_refused(data):
    with pytest.raises(dnswire.BadMessage):
        dnswire.parse(data)


def test_no_bytes_do_harm():
    dice = random.Random(DICE)
    good = message([record(5, b"\1x\xc0\x0c"), record(28, bytes(16)), record(1, b"\x0a\1\2\3")])
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            dnswire.asked(bytes(data), 7, "ok.test.", "A")
            dnswire.parse(bytes(data[: dice.randrange(len(data) + 1)]))
        except dnswire.BadMessage:
            pass


@pytest.mark.parametrize("name", ["", "..", "a..b", "x" * 64, "a b", "a\0b", "ü.test", "a/b", ("a" * 60 + ".") * 5])
def test_what_cannot_be_asked(name):
    assert not dnswire.valid_name(name)


# -- what a look-up comes to


def answer(server, name, kind, seconds=0.001, rcode="NOERROR", addresses=(), error=""):
    return Answer(server=server, wanted="db", name=name, type=kind, seconds=seconds, rcode=rcode, addresses=addresses,
                  error=error, records=len(addresses))  # fmt: skip


def known(*rows):
    return {(row.server, row.name, row.type): row for row in rows}


def test_a_dead_server_costs_its_timeout_at_each_question():
    conf = parse_resolv_conf(b"nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.test\noptions timeout:2\n")
    rows = []
    for name in ("db.a.test.", "db."):
        for kind in ("A", "AAAA"):
            rows.append(answer("10.0.0.1", name, kind, seconds=None, rcode="", error="no answer in 2 s"))
            found = ("10.1.1.1",) if (name, kind) == ("db.", "A") else ()
            rows.append(
                answer("10.0.0.2", name, kind, rcode="NOERROR" if name == "db." else "NXDOMAIN", addresses=found)
            )
    got = walk.look_up("db", conf, ["files", "dns"], [], known(*rows))
    assert (got.result, got.addresses, got.by, got.asked_as) == ("ok", ("10.1.1.1",), "10.0.0.2", "db.")
    assert got.seconds == pytest.approx(4.002)
    assert (got.questions, got.in_vain) == (8, 6)
    traps = {trap.id for trap in walk.traps(conf, [], rows, [got])}
    assert traps == {"dead-first-server", "questions-in-vain"}


def test_nobody_answers_or_all_refuse():
    conf = parse_resolv_conf(b"nameserver 10.0.0.1\n")
    dead = [answer("10.0.0.1", "db.", kind, seconds=None, rcode="", error="no answer in 2 s") for kind in ("A", "AAAA")]
    got = walk.look_up("db", conf, ["dns"], [], known(*dead))
    assert (got.result, got.seconds) == ("i/o timeout", 10.0)
    refusing = [answer("10.0.0.1", "db.", kind, rcode="SERVFAIL") for kind in ("A", "AAAA")]
    got = walk.look_up("db", conf, ["dns"], [], known(*refusing))
    assert got.result == "server misbehaving"
    assert [trap.id for trap in walk.traps(conf, [], refusing, [got])] == ["server-refuses"]


def test_servers_that_do_not_agree_and_a_stale_line_of_the_hosts_file():
    conf = parse_resolv_conf(b"nameserver 10.0.0.1\nnameserver 10.0.0.2\n")
    rows = [answer("10.0.0.1", "db.", "A", addresses=("10.1.1.1",)), answer("10.0.0.2", "db.", "A", rcode="NXDOMAIN")]
    hosts = [HostsEntry("10.7.7.7", ("DB",))]
    got = walk.look_up("db", conf, ["files", "dns"], hosts, known(*rows))
    assert (got.by, got.addresses, got.questions) == ("hosts file", ("10.7.7.7",), 0)
    assert {trap.id for trap in walk.traps(conf, hosts, rows, [got])} == {"servers-differ", "stale-hosts-entry"}
    rows = [answer("10.0.0.1", "db.", "A", addresses=("10.1.1.1",)), answer("10.0.0.1", "db.", "AAAA", seconds=3.0)]
    got = walk.look_up("db", conf, ["dns", "files"], hosts, known(*rows))
    assert (got.by, got.addresses) == ("10.0.0.1", ("10.1.1.1",))
    assert "aaaa-delay" in {trap.id for trap in walk.traps(conf, [], rows, [got])}
