"""The tabs of names and certificates: nothing is sent by looking at them; what is, to whom, is asked first."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.records.dns import Answer, Dns, DnsChecks, HostsEntry, NameChecked, NameServer, Trap
from gotriage.records.tls import Certificate, GivenCertificate, Handshake, Tls, TlsChecks, TrustSource
from gotriage.records.tracing import Price, Trace, Traces
from gotriage.render import dns, tls

from tests.ui import made
from tests.ui.screens import drive, text

AT = made.START + timedelta(seconds=9)
TRAP = Trap("dead-first-server", "name server 10.0.0.1 does not answer, 10.0.0.2 does", "it costs 5 s", "take it out")
LEAF = Certificate(
    "orders", "Test CA", made.START - timedelta(days=400), made.START - timedelta(days=35), ("orders.test",), 1,
    key="ECDSA P-256", signature="ECDSA-SHA256",
)  # fmt: skip
RECORDS = (
    Dns(
        at=AT,
        resolver="go",
        order="files dns",
        reasons=("built with CGO_ENABLED=0", "no nsswitch.conf"),
        nsswitch_conf="missing",
        servers=(NameServer("10.0.0.1"), NameServer("127.0.0.53", listening=False)),
        search=("a.test",),
        ndots=5,
        hosts=(HostsEntry("10.7.7.7", ("db",)),),
        hosts_count=1,
        traps=(Trap("search-amplification", "ndots:5 " + "and so on " * 20),),
    ),
    DnsChecks(
        at=AT,
        rows=(
            Answer(server="10.0.0.1", wanted="db", name="db." + "a" * 90, type="A", error="no answer in 2.5 s"),
            Answer(server="10.0.0.2", wanted="db", name="db.", type="A", seconds=0.002, rcode="NOERROR", records=1,
                   addresses=("10.1.1.1",)),
        ),
        names=(NameChecked("db", "ok", 5.002, 4, 2, ("10.1.1.1",), "10.0.0.2", "db."),),
        sent=4,
        traps=(TRAP,),
    ),
    Tls(
        at=AT,
        roots=0,
        sources=(TrustSource("/conf/ca.pem", "SSL_CERT_FILE", "unreadable", reason="uid 7 may not read it"),),
        given=(GivenCertificate("/conf/tls.crt", "argument 2", (LEAF,), 1),),
    ),
    TlsChecks(
        at=AT,
        rows=(Handshake(address="api.test:443", server_name="api.test", protocol="TLSv1.3", seconds=0.01, chain=(LEAF,),
                        verified=False, problem="certificate has expired"),),
    ),
)  # fmt: skip


def session(*more):
    found = made.session()
    for record in (*RECORDS, *more):
        found.feed(record)
    return found


class Link:
    """Notes what is asked of the agent."""

    def __init__(self):
        self.asked = []

    def request(self, op, collectors=(), **more):
        self.asked.append((op, tuple(collectors), more.get("options", {})))
        return len(self.asked)


def pressed(tab, *keys, more=()):
    front = made.front(session(*more))
    link = Link()

    async def use(app, pilot):
        front.link = link
        await pilot.press(tab)
        await pilot.pause()
        for key in keys:
            await pilot.press(*key) if isinstance(key, tuple) else await pilot.press(key)
            await pilot.pause()
        return text(app)

    return drive(front, use), [one for one in link.asked if one[0] in ("start", "price")]


@pytest.mark.parametrize("tab", ["D", "T"])
def test_a_look_sends_nothing(tab):
    assert pressed(tab)[1] == []


@pytest.mark.parametrize(("tab", "name"), [("D", "dns_checks"), ("T", "tls_checks")])
def test_a_start_tells_first_what_is_sent(tab, name):
    row = Trace(source=name, state="priced", backend="x", price=Price(words=("sends 4 questions to 10.0.0.2",)))
    seen, asked = pressed(tab, "s", more=[Traces(at=AT, rows=(row,))])
    assert [op for op, _, _ in asked] == ["price"]
    assert "sends 4 questions to 10.0.0.2" in seen
    _, asked = pressed(tab, "s", "y", more=[Traces(at=AT, rows=(row,))])
    assert [op for op, _, _ in asked] == ["price", "start"]
    assert pressed(tab, "s", "n", more=[Traces(at=AT, rows=(row,))])[1][-1][0] == "price"


@pytest.mark.parametrize(
    ("tab", "typed", "options"),
    [
        ("D", "db.test, b.test", {"name": "db.test,b.test"}),
        ("T", "api.test:443 sni=b.test", {"peer": "api.test:443", "sni": "b.test"}),
        ("T", "sni=b.test", {"sni": "b.test"}),
    ],
)
def test_what_to_check_can_be_typed(tab, typed, options):
    keys = {" ": "space", ",": "comma", ".": "full_stop", ":": "colon", "=": "equals_sign"}
    _, asked = pressed(tab, "a", tuple(keys.get(sign, sign) for sign in typed), "enter")
    assert asked[-1][::2] == ("price", options)


@pytest.mark.parametrize("width", [None, 200, 80])
def test_pages_keep_to_their_width(width):
    for lines in (dns.lines(session(), width), tls.lines(session(), width)):
        page = list(lines)
        assert width is None or max(map(len, page)) <= width
        assert "10.0.0.1" in "\n".join(page) or "tls.crt" in "\n".join(page)


def test_what_is_wrong_stands_first():
    seen, _ = pressed("D")
    assert seen.index("10.0.0.1 does not answer") < seen.index("LOOK-UP OF")
    seen, _ = pressed("T")
    assert "no: certificate has expired" in seen
    assert "expired" in seen.partition("orders.test")[0]
