"""The D-Bus client against buses that hang, hang up, refuse, or speak something else; each ends within its deadline."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest
from gotriage.errors import NotPermitted
from gotriage.host import dbus
from gotriage.host.dbus import Bus, BusHangs, BusRefused, BusUnreachable
from jeepney import DBusAddress, Parser, new_error, new_method_return

from tests.lab.folders import let_enter
from tests.lab.process import wait_until

OBJECT = DBusAddress("/o", bus_name="a.b", interface="a.b.C")


@pytest.fixture
def peer(tmp_path):
    """`peer(talk)`: a socket on which `talk(connection)` runs for each client."""
    servers = []

    def serve(talk):
        path = tmp_path / "bus"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        servers.append(server)

        def accept():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    talk(client)

        threading.Thread(target=accept, daemon=True).start()
        return path

    yield serve
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def welcome(client):
    """Authenticate; the lines that came."""
    data = b""
    while not data.endswith(b"BEGIN\r\n"):
        data += client.recv(4096)
    client.sendall(b"OK 0123\r\n")
    return data


def answers(*replies):
    """A peer that answers its calls in turn; a reply is (signature, body) or the name of an error."""

    def talk(client):
        welcome(client)
        parser, serial, left = Parser(), 100, list(replies)
        while left:
            parser.add_data(client.recv(1 << 16))
            while left and (message := parser.get_next_message()):
                reply = left.pop(0)
                if isinstance(reply, str):
                    answer = new_error(message, reply, "s", ("no \x1b such",))
                else:
                    answer = new_method_return(message, *reply)
                serial += 1
                client.sendall(answer.serialise(serial=serial))
        client.recv(1)

    return talk


def call(bus, timeout=2.0):
    return bus.call("/o", "a.b.C", "Do", "s", ("x",), to="a.b", timeout=timeout)


def test_a_call_and_its_answer(peer):
    bus = Bus(peer(answers(("s", (":1.1",)), ("a{sv}", ({"k": ("u", 7)},)))))
    assert call(bus) == ({"k": ("u", 7)},)
    bus.close()


def test_without_a_daemon_there_is_no_hello(peer):
    bus = Bus(peer(answers(("u", (5,)))), daemon=False)
    assert call(bus) == (5,)
    bus.close()


def test_our_uid_is_told_and_begin_comes_before_the_first_call(peer):
    seen = []
    bus = Bus(peer(lambda client: seen.append(welcome(client))), daemon=False)
    bus.close()
    wait_until(lambda: seen)  # the other side is a thread of its own
    assert seen == [b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n"]


def test_an_error_answer_is_clean_text_and_a_name(peer):
    bus = Bus(peer(answers("a.b.NoSuchUnit")), daemon=False)
    with pytest.raises(BusRefused, match="no ␛ such") as caught:
        call(bus)
    assert caught.value.name == "a.b.NoSuchUnit"
    bus.close()


def quiet(client):
    client.recv(1 << 16)
    time.sleep(5)


def quiet_after_welcome(client):
    welcome(client)
    time.sleep(5)


def dripping(client):
    """A byte now and then: each read succeeds, the whole never does."""
    welcome(client)
    for _ in range(100):
        client.sendall(b"l")
        time.sleep(0.02)


@pytest.mark.parametrize("talk", [quiet, quiet_after_welcome, dripping])
def test_a_bus_that_hangs_costs_its_deadline(peer, talk):
    begun = time.monotonic()
    with pytest.raises(BusUnreachable):
        Bus(peer(talk), timeout=0.3)
    assert time.monotonic() - begun < 2


def test_a_hung_bus_is_told_from_a_broken_one(peer):
    with pytest.raises(BusHangs):
        Bus(peer(quiet), timeout=0.2)


@pytest.mark.parametrize(
    "rubbish", [b"x" * 100, b"l\x02\x01\x01" + b"\xff" * 60, b"\0" * 64, b"l" + b"\x01" * 200], ids=repr
)
def test_rubbish_is_an_unreachable_bus(peer, rubbish):
    def talk(client):
        welcome(client)
        client.recv(1 << 16)
        client.sendall(rubbish)
        client.recv(1 << 16)

    with pytest.raises(BusUnreachable):
        Bus(peer(talk), timeout=0.5)


@pytest.mark.parametrize("line", [b"REJECTED EXTERNAL\r\n", b"\r\n", b"OK 1\r\nmore", b"a" * 10_000])
def test_who_refuses_us(peer, line):
    def talk(client):
        client.recv(4096)
        client.sendall(line)
        client.recv(1)

    with pytest.raises(BusUnreachable):
        Bus(peer(talk), timeout=0.5)


def test_an_endless_answer_is_cut(peer, monkeypatch):
    monkeypatch.setattr(dbus, "MAX_ANSWER", 100_000)

    def talk(client):
        welcome(client)
        client.recv(4096)
        head = b"l\x02\x01\x01" + (100_000_000).to_bytes(4, "little") + b"\x01\0\0\0" + b"\0\0\0\0"
        client.sendall(head)
        while True:
            client.sendall(b"\0" * 65536)

    bus = Bus(peer(talk), daemon=False)
    with pytest.raises(BusUnreachable, match="more than 100000 bytes"):
        call(bus)
    bus.close()


def test_signals_in_between_are_skipped(peer):
    def talk(client):
        welcome(client)
        parser = Parser()
        parser.add_data(client.recv(1 << 16))
        message = parser.get_next_message()
        other = new_method_return(message, "s", ("not for you",))
        other.header.fields[5] = 999  # reply_serial of nobody's call
        client.sendall(other.serialise(serial=7) + new_method_return(message, "s", ("for you",)).serialise(serial=8))
        client.recv(1)

    bus = Bus(peer(talk), daemon=False)
    assert call(bus) == ("for you",)
    bus.close()


def test_a_socket_that_is_not_there(tmp_path):
    with pytest.raises(BusUnreachable, match="No such file"):
        Bus(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises((BusUnreachable, NotPermitted)):
        Bus(tmp_path / "file")


def test_another_users_identity_is_taken_for_the_connection_only(peer):
    """A peer sees who connected (SO_PEERCRED); the calling thread and the process stay who they are."""
    seen = []

    def talk(client):
        seen.append(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        seen.append(welcome(client))

    path = peer(talk)
    os.chmod(path, 0o777)
    let_enter(path.parent)
    bus = Bus(path, daemon=False, uid=65534)
    wait_until(lambda: len(seen) == 2)
    bus.close()
    assert int.from_bytes(seen[0][4:8], "little") == 65534
    assert seen[1].startswith(b"\0AUTH EXTERNAL " + b"65534".hex().encode())
    assert os.geteuid() == 0
