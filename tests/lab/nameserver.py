"""Name servers of a test: `python nameserver.py ADDRESS=MANNER ...`, each well or ill in one way; says "ready".

Manners: ok, slow (a second late), dead (takes questions and says nothing), servfail, flood (garbage before answers),
noise (garbage only), cut (by UDP only a part, by TCP the whole), four (answers A and never AAAA), other (another
address). They know ok.test as 10.1.2.3 or, other, 10.9.9.9, and that nothing else exists.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time


def answer(question: bytes, manner: str, *, tcp: bool) -> bytes:
    place, labels = 12, []
    while question[place]:
        labels.append(question[place + 1 : place + 1 + question[place]].decode("latin-1"))
        place += 1 + question[place]
    kind = struct.unpack_from("!H", question, place + 1)[0]
    asked = question[12 : place + 5]
    name = ".".join(labels).lower()
    known = name == "ok.test"
    if manner == "four" and kind == 28:
        return b""
    rcode, records, cut = (0 if known or not name else 3), b"", manner == "cut" and not tcp
    if manner == "servfail":
        rcode = 2
    elif known and kind == 1 and not cut:
        address = b"\x0a\x09\x09\x09" if manner == "other" else b"\x0a\x01\x02\x03"
        records = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + address
    flags = 0x8180 | rcode | (0x0200 if cut else 0)
    return question[:2] + struct.pack("!HHHHH", flags, 1, bool(records), 0, 0) + asked + records


def noise(server: socket.socket, who: tuple[str, int], packets: int) -> None:
    for _ in range(packets):
        server.sendto(b"\xc0\x0c" * 700, who)
        time.sleep(0)


def serve_udp(address: str, manner: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        while True:
            question, who = server.recvfrom(2048)
            if manner == "dead":
                continue
            if manner == "flood":
                noise(server, who, 200)
            if manner == "noise":
                noise(server, who, 2000)
                continue
            if manner == "slow":
                threading.Timer(1.2, lambda q=question, w=who: server.sendto(answer(q, "ok", tcp=False), w)).start()
            elif data := answer(question, manner, tcp=False):
                server.sendto(data, who)


def serve_tcp(address: str, manner: str) -> None:
    with socket.create_server((address, 53)) as server:
        while True:
            link, _ = server.accept()
            with link:
                data = link.recv(2048)
                if len(data) > 2:
                    whole = answer(data[2:], manner, tcp=True)
                    link.sendall(struct.pack("!H", len(whole)) + whole)


def main() -> None:
    for word in sys.argv[1:]:
        address, _, manner = word.partition("=")
        threading.Thread(target=serve_udp, args=(address, manner), daemon=True).start()
        if manner in ("ok", "cut"):
            threading.Thread(target=serve_tcp, args=(address, manner), daemon=True).start()
    time.sleep(0.2)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
