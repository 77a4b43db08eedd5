"""Plain HTTP/1 at sockets: conversations held byte by byte, and a Go service against what its client counts."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
from collections import Counter
from contextlib import closing, contextmanager

import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.http import CallTracer, SocketTracer
from gotriage.errors import UsageError
from gotriage.host import Host
from gotriage.probes.tallies import MOST_ROWS
from gotriage.records.http import NO_ANSWER, OTHER_ROUTES
from gotriage.records.routes import route_of

from tests.lab.process import wait_until
from tests.lab.toolchain import build
from tests.real.targets import target_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="programs in the kernel take root"),
]

WAYS = [SocketTracer, CallTracer]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def get(path: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def traced(way=SocketTracer, pid=None):
    target = target_of(pid or os.getpid())
    with closing(way(target.host, target)) as tracer, closing(target.main):
        tracer.start({})
        yield tracer


def look(tracer):
    (record,) = tracer.collect()
    return record


def counted(record):
    """(direction, method, route) to statuses, of rows with a call."""
    return {(row.direction, row.method, row.route): row.statuses for row in record.rows if row.count}


class Talk:
    """Both ends of a connection: `ask` writes at the client's and reads at the server's, `answer` the other way."""

    def __init__(self, kind="tcp"):
        if kind == "unix":
            self.client, self.server = socket.socketpair()
            return
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.create_connection(listener.getsockname())
            self.server, _ = listener.accept()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.server.close()

    def ask(self, *pieces):
        self._pass(self.client, self.server, pieces)

    def answer(self, *pieces):
        self._pass(self.server, self.client, pieces)

    @staticmethod
    def _pass(writer, reader, pieces):
        for piece in pieces:
            writer.sendall(piece)
            got = b""
            while len(got) < len(piece):
                got += reader.recv(65536)


def both(method, route, statuses):
    """The same, seen by the server and by the client."""
    return {("in", method, route): statuses, ("out", method, route): statuses}


def keep_alive(talk):
    for path in (b"/a", b"/users/17", b"/users/4711?q=%20", b"/a"):
        talk.ask(get(path))
        talk.answer(OK)
    return both("GET", "/a", {"200": 2}) | both("GET", "/users/{n}", {"200": 2})


def in_pieces(talk):
    """As Go's server reads: one byte while it waits for the connection's end, then the rest."""
    head = get(b"/pieces")
    talk.client.sendall(head[:1])
    talk.server.recv(1)
    talk.ask(head[1:])
    talk.answer(b"HTTP/1.", b"1 204 No Content\r\n\r\n")
    talk.ask(*(head[at : at + 3] for at in range(0, len(head), 3)))
    talk.answer(b"HTTP/1.0 302 Found\r\n\r\n")
    return both("GET", "/pieces", {"204": 1, "302": 1})


def bodies_that_look_like_heads(talk):
    talk.ask(get(b"/up", b"POST"), get(b"/not-a-request"), b"DELETE / HTTP/1.1\r\n\r\n")
    talk.answer(OK, b"HTTP/1.1 500 no answer\r\n\r\n", b"HTTP/1.1 503 nor this\r\n\r\n")
    talk.ask(get(b"/next"))
    talk.answer(b"HTTP/1.1 404 Not Found\r\n\r\nHTTP/1.1 500 in the same piece")
    return both("POST", "/up", {"200": 1}) | both("GET", "/next", {"404": 1})


def provisional(talk):
    talk.ask(get(b"/upload", b"PUT"))
    talk.answer(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n")
    talk.ask(b"the body")
    talk.answer(b"HTTP/1.1 201 Created\r\n\r\n")
    return both("PUT", "/upload", {"201": 1})


def web_socket(talk):
    talk.ask(get(b"/live"))
    talk.answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    talk.ask(get(b"/inside-a-frame"))
    talk.answer(OK)
    return both("GET", "/live", {"101": 1})


def looked_at_first(talk):
    """A server that peeks, as multiplexers do, sees each head twice."""
    talk.client.sendall(get(b"/peek"))
    talk.server.recv(1024, socket.MSG_PEEK)
    talk.server.recv(1024)
    talk.answer(OK)
    return both("GET", "/peek", {"200": 1})


def in_vectors(talk):
    head = get(b"/vectors")
    os.writev(talk.client.fileno(), [head, b"more"])
    os.readv(talk.server.fileno(), [bytearray(1024), bytearray(1024)])
    talk.server.sendmsg([OK])
    talk.client.recvmsg(1024)
    os.write(talk.client.fileno(), head)
    os.read(talk.server.fileno(), 1024)
    talk.server.send(OK)
    talk.client.recv_into(bytearray(1024))
    return both("GET", "/vectors", {"200": 2})


def without_answer(talk):
    talk.ask(get(b"/ended"))
    talk.server.close()
    talk.client.recv(10)
    return both("GET", "/ended", {NO_ANSWER: 1})


def other_methods(talk):
    for method, target in ((b"PROPFIND", b"/dav"), (b"OPTIONS", b"*"), (b"GET", b"http://proxied.example/x")):
        talk.ask(get(target, method))
        talk.answer(OK)
    talk.ask(b"GET /no-version\r\n\r\n")
    talk.ask(b"get /small HTTP/1.1\r\n\r\n")
    return both("PROPFIND", "/dav", {"200": 1}) | both("OPTIONS", "*", {"200": 1}) | both("GET", "/x", {"200": 1})


CONVERSATIONS = [
    keep_alive, in_pieces, bodies_that_look_like_heads, provisional, web_socket, looked_at_first, in_vectors,
    without_answer, other_methods,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_conversations_are_counted_as_they_were_held(way):
    expected = {}
    with traced(way) as tracer:
        for conversation in CONVERSATIONS:
            with Talk("tcp") as talk:
                expected |= conversation(talk)
        wait_until(lambda: counted(look(tracer)).get(("in", "GET", "/ended")))
        record = look(tracer)
    assert counted(record) == expected
    assert record.lost == 0
    assert record.errors == 2
    assert record.count == sum(sum(row.values()) for row in expected.values())
    assert {row.why for row in record.unseen} >= {"upgraded"}


def test_a_unix_socket_a_name_and_a_client_of_two_servers():
    with traced() as tracer, Talk("unix") as local, Talk() as one, Talk() as two:
        for talk, host in ((local, b"x"), (one, b"api.example"), (two, b"10.0.0.1:80")):
            talk.ask(b"GET /a HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")
            talk.answer(OK)
        record = look(tracer)
        address = [f"127.0.0.1:{talk.client.getpeername()[1]}" for talk in (one, two)]
    peers = {row.peer for row in record.rows if row.direction == "out"}
    assert peers == {"x (unix socket)", f"api.example ({address[0]})", address[1]}
    assert [row.count for row in record.rows if row.direction == "in"] == [3]
    assert {peer.address for peer in record.peers if peer.direction == "in"} == {"unix socket", "127.0.0.1"}


def test_what_is_in_flight_and_what_was_slow():
    with traced() as tracer, Talk() as talk, Talk() as other:
        talk.ask(get(b"/first/1?secret=x"))
        other.ask(get(b"/second"))
        wait_until(lambda: (look(tracer).in_flight[0].seconds or 0) > 0.12)
        record = look(tracer)
        assert record.in_flight_count == 4
        assert [call.path for call in record.in_flight[:2]] == ["/first/1", "/first/1"]
        assert {call.route for call in record.in_flight} == {"/first/{n}", "/second"}
        assert record.in_flight[0].pid == os.getpid()
        assert {row.in_flight for row in record.rows} == {1}
        talk.answer(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
        record = look(tracer)
    assert record.in_flight_count == 2
    slow = record.slowest[0]
    assert (slow.path, slow.status) == ("/first/1", "500")
    assert slow.seconds > 0.1
    row = next(row for row in record.rows if row.route == "/first/{n}")
    assert row.longest > 0.1
    assert row.error_share == 1.0
    assert "secret" not in str(record)


def test_several_requests_at_once_are_told_of():
    with traced() as tracer, Talk() as talk:
        talk.ask(get(b"/one") + get(b"/two"))
        talk.answer(OK)
        talk.answer(OK)
        record = look(tracer)
    assert counted(record) == both("GET", "/one", {"200": 1})
    assert record.unmatched == 1


def test_what_cannot_be_read_is_named():
    hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(64)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    with traced() as tracer, Talk() as tls, Talk() as http2, Talk() as old, Talk() as database:
        assert look(tracer).note.startswith("no socket")
        tls.ask(hello)
        http2.ask(preface)
        old.ask(b"\0\0\x04\x08\0\0\0\0\x03\0\0\x10\0")  # a frame of a connection that was there before
        for _ in range(5):
            database.ask(b"\x51\0\0\0\x0dSELECT 1\0")
        record = look(tracer)
        port = f":{tls.server.getsockname()[1]}"
    found = {(row.why, row.direction) for row in record.unseen}
    assert {("TLS", "in"), ("TLS", "out"), ("HTTP/2", "in"), ("HTTP/2", "out")} <= found
    assert "unknown protocol" in {row.why for row in record.unseen}
    assert port in {row.place for row in record.unseen if row.why == "TLS"}
    assert not record.rows
    assert "TLS" in record.note
    assert "HTTP/2" in record.note


def test_hostile_bytes_do_no_harm():
    chance = random.Random(4)
    with traced() as tracer:
        with Talk() as talk:
            for path in (b"/\x1b]0;x\x07\xe2\x80\xae", b"/\xff\xfe%s%n", b"/" + b"A" * 4000, b"/" + b"../" * 60, b"//"):
                talk.ask(get(path))
                talk.answer(OK)
        for _ in range(100):
            with Talk("unix") as talk:
                noise = chance.randbytes(chance.randrange(1, 300))
                start = chance.choice((b"", b"GET ", b"GET /", b"HTTP/1.1 ", b"PRI * HTTP/2", b"\x16\x03"))
                talk.ask(start + noise, noise)
                talk.answer(noise, start + noise)
        record = look(tracer)
    text = str(record)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert sum(row.count for row in record.rows if row.peer != "unix socket") >= 10
    assert any(row.route.endswith("…") for row in record.rows)


def test_routes_are_told_apart_in_the_kernel_as_they_are_named():
    chance = random.Random(7)
    parts = ("users", "v2", "17", "4711", "img-3.png", "2024-01-02", "a1b2c3d4e5", "deadbeef01", "x" * 19, "y1" * 10,
             "550e8400-e29b-41d4-a716-446655440000", "", "3x", "a.b", "%7e", "12345678", "q_9")  # fmt: skip
    paths = ["/" + "/".join(chance.choice(parts) for _ in range(chance.randrange(1, 4))) for _ in range(120)]
    with traced() as tracer, Talk("unix") as talk:
        for path in paths:
            talk.ask(get(path.encode()))
            talk.answer(OK)
        record = look(tracer)
    expected = Counter(route_of(path) for path in paths)
    assert {row.route: row.count for row in record.rows if row.direction == "in"} == expected


def test_more_routes_than_there_is_room_for_still_count():
    with traced() as tracer, Talk("unix") as talk:
        words = [f"/{a}{b}{c}" for a in "abcdefghijklmnop" for b in "abcdefghijklmnop" for c in "abcdefghijklm"]
        for path in words:
            talk.ask(get(path.encode()))
            talk.answer(OK)
        record = look(tracer)
    assert record.count == 2 * len(words)
    assert len(record.rows) <= MOST_ROWS + 10
    assert sum(row.count for row in record.rows) == record.count
    assert {row.route for row in record.rows} > {OTHER_ROUTES}


def test_off_and_on_again():
    with traced() as tracer, Talk() as talk:
        talk.ask(get(b"/begun"))
        tracer.detach()
        talk.answer(OK)
        talk.ask(get(b"/unseen"))
        talk.answer(OK)
        attached = look(tracer).attached
        tracer.attach()
        talk.ask(get(b"/seen"))
        talk.answer(OK)
        record = look(tracer)
        assert counted(record) == both("GET", "/seen", {"200": 1})
        assert record.in_flight_count == 0
        assert record.attached > attached
        hits = tracer.meter().hits
        tracer.stop()
        assert tracer.meter().hits == hits
        assert list(tracer.collect()) == []


def test_it_has_no_options_of_its_own():
    target = target_of(os.getpid())
    refused = pytest.raises(UsageError, match="no option 'nope' of http; there are none")
    with closing(target.main), closing(SocketTracer(target.host, target)) as tracer, refused:
        tracer.price({"nope": "1"})


def test_a_kernel_without_the_tracepoint(tmp_path):
    target = target_of(os.getpid(), host=Host(sys=tmp_path))
    with closing(target.main), pytest.raises(Unavailable, match=r"Linux 6\.3"):
        SocketTracer(target.host, target).price({})


@pytest.mark.parametrize("way", WAYS)
def test_a_go_service_is_counted_as_its_client_counts(service, way):
    running = service("web")
    plain = (running.folder / "ready").read_text().split()[0]

    def ask(path, times):
        line = [build("web"), "-get", f"http://{plain}{path}", f"-times={times}", "-workers=2"]
        out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        return sum(int(words.split()[-1]) for words in out.splitlines())

    with traced(way, running.pid) as tracer:
        look(tracer)  # from now on goroutines are known
        asked = {path: ask(path, times) for path, times in (("/item/7", 2000), ("/status/503", 60), ("/out", 25))}
        asked["/panic"] = ask("/panic", 5)
        wait_until(lambda: counted(look(tracer)).get(("in", "GET", "/panic"), {}).get(NO_ANSWER) == asked["/panic"])
        record = look(tracer)
    found = counted(record)
    assert found["in", "GET", "/item/{n}"] == {"200": asked["/item/7"]}
    assert found["in", "GET", "/status/{n}"] == {"503": asked["/status/503"], "404": asked["/out"]}
    assert found["in", "GET", "/out"] == {"200": asked["/out"]}
    assert found["out", "GET", "/status/{n}"] == {"404": asked["/out"]}
    assert record.lost == 0
    assert all(call.goroutine for call in record.slowest if call.direction == "in")
    assert json.loads(json.dumps(dict(found["in", "GET", "/item/{n}"])))
