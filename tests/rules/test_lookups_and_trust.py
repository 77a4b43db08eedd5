"""Names that cannot be looked up, and certificates that are missing, over, or not trusted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gotriage.records.dns import Answer, Dns, DnsChecks, NameChecked, NameServer, Trap
from gotriage.records.tls import Certificate, GivenCertificate, Handshake, Tls, TlsChecks, TrustSource

from tests.rules.conftest import START
from tests.rules.test_peers import probed

NO_HOST = "dial tcp: lookup db.internal on 10.0.0.2:53: no such host"
LOOPBACK = Trap("loopback-server", "name server 127.0.0.53: nothing listens there", fix="name the real one")
SEARCH = Trap("search-amplification", "ndots:5 with 3 search domains: 8 questions instead of 2", fix="end with a dot")
X509 = 'Get "https://api.test/v1": tls: failed to verify certificate: x509: '
UNKNOWN_CA = f"{X509}certificate signed by unknown authority"
EXPIRED = f"{X509}certificate has expired or is not yet valid: current time 2026-03-01T02:40:00Z is after 2026-02-01"


def settings(story, *traps, servers=("10.0.0.2",)):
    return story.add(
        Dns, resolver="go", order="files dns", servers=tuple(NameServer(one) for one in servers), traps=traps
    )


def repeated(story, message, times=3):
    for second in range(times):
        story.log(message, second)
    return story


# -- dns-failure


def test_a_name_that_is_not_there_with_the_settings_beside_it(running):
    settings(running, LOOPBACK, SEARCH)
    found = repeated(running, NO_HOST).finding("dns-failure")
    assert (found.severity, found.subject, found.view) == ("warning", "db.internal", "dns")
    assert LOOPBACK.what in found.evidence
    assert SEARCH.what not in found.evidence, "that makes it slow, not fail"
    assert "--option name=db.internal" in found.fix


def test_once_may_be_a_restart_and_is_old_after_a_minute(running):
    assert running.log(NO_HOST).ids() == []
    assert repeated(running, NO_HOST).log("well", 100).ids() == []


@pytest.mark.parametrize(
    "words",
    [
        "read udp 10.0.0.5:4444->127.0.0.53:53: read: connection refused",
        "dial udp 127.0.0.53:53: connect: network is unreachable",
    ],
)
def test_a_server_that_cannot_be_reached_is_critical(running, words):
    settings(running, LOOPBACK)
    found = repeated(running, f"dial tcp: lookup db on 127.0.0.53:53: {words}").finding("dns-failure")
    assert (found.severity, found.fix.splitlines()[0]) == ("critical", LOOPBACK.fix)


def test_what_makes_no_noise(running):
    """Settings with traps, a search list's questions in vain, a check that went well."""
    settings(running, LOOPBACK, SEARCH)
    probed(running, "dns", *({"what": "db.a.test", "result": "NXDOMAIN", "took": 0.001},) * 9)
    running.add(DnsChecks, names=(NameChecked("db", "ok", 0.003, 4, 2, ("10.1.1.1",), "10.0.0.2"),))
    assert running.ids() == []
    assert "1 name looked up, 3ms at most" in [one.text for one in running.verdict().fine]


def test_what_was_asked_counts(running):
    settings(running)
    rows = (Answer(server="10.0.0.2", wanted="db", name="db.", type="A", seconds=0.001, rcode="SERVFAIL"),)
    running.add(DnsChecks, rows=rows, names=(NameChecked("db", "server misbehaving", 0.001, 4, 4),))
    found = running.finding("dns-failure")
    assert "10.0.0.2: db. SERVFAIL" in found.evidence
    running.add(DnsChecks, at=5, traps=(Trap("all-servers-dead", "no name server answers: 10.0.0.2", "refused"),))
    assert running.finding("dns-failure").severity == "critical"
    assert running.log("well", 400).ids() == []


def test_a_dead_first_server_makes_look_ups_slow(running):
    settings(running, SEARCH)
    trap = Trap("dead-first-server", "name server 10.0.0.1 does not answer, 10.0.0.2 does", "each look-up waits 5 s")
    running.add(DnsChecks, names=(NameChecked("db", "ok", 5.001, 4, 2, ("10.1.1.1",), "10.0.0.2"),), traps=(trap,))
    found = running.finding("dns-slow")
    assert "db takes 5.0s" in found.title
    assert any("10.0.0.1 does not answer" in text for text in found.evidence)
    assert SEARCH.what in found.evidence
    assert SEARCH.fix in found.fix


# -- certificates


def certificate(subject="orders", *, left=90.0, life=365.0, **more):
    ends = START + timedelta(days=left)
    return Certificate(subject, "Test CA", ends - timedelta(days=life), ends, fingerprint=subject, **more)


def tls(story, roots=140, *sources, given=(), **more):
    usual = TrustSource("/etc/ssl/certs/ca-certificates.crt", "Go's list", "loaded" if roots else "missing")
    listed = sources or (usual,)
    return story.add(Tls, roots=roots, sources=listed, given=given, **more)


def test_no_authorities_is_well_until_somebody_needs_them(running):
    assert tls(running, 0).ids() == []
    found = repeated(running, UNKNOWN_CA)
    assert found.finding("ca-bundle-missing").severity == "critical"
    assert found.finding("certificate-untrusted").because == "ca-bundle-missing"


def test_variables_that_lead_nowhere(running):
    source = TrustSource("/conf/ca.pem", "SSL_CERT_FILE", "unreadable", reason="uid 1000 may not read /conf/ca.pem")
    found = tls(running, 0, source).finding("ca-bundle-missing")
    assert (found.severity, "uid 1000" in found.evidence[0]) == ("warning", True)


def test_a_program_with_authorities_of_its_own(running):
    assert repeated(tls(running, 0, embedded="golang.org/x/crypto/x509roots/fallback"), UNKNOWN_CA).ids() == [
        "certificate-untrusted"
    ]


@pytest.mark.parametrize(
    ("one", "severity"),
    [
        (certificate(left=-1.0), "critical"),
        (certificate(left=13.0), "warning"),
        (certificate(left=20.0), ""),
        (certificate(left=3.0, life=6.0), ""),
        (certificate(left=1.0, life=6.0), "warning"),
        (certificate(left=364.0, life=360.0), "critical"),
    ],
    ids=["over", "soon", "well", "short-lived", "short-lived and late", "not yet"],
)
def test_when_a_certificate_ends(running, one, severity):
    tls(running, given=(GivenCertificate("/conf/tls.crt", "argument 2", (one,), 1),))
    claims = {finding.id: finding.severity for finding in running.verdict().findings}
    assert claims == ({"certificate-expired": severity} if severity else {})


def test_old_authorities_in_a_bundle_are_usual(running):
    old = certificate(left=-100.0, is_ca=True)
    assert tls(running, given=(GivenCertificate("/conf/ca.pem", "CA_FILE", (old, old), 140),)).ids() == []


def test_a_served_and_given_certificate_is_one_finding(running):
    one = certificate(left=-1.0)
    tls(running, given=(GivenCertificate("/conf/tls.crt", "argument 2", (one,), 1),))
    running.add(TlsChecks, rows=(Handshake(address="[::]:443", own=True, protocol="TLSv1.3", chain=(one,)),))
    (found,) = [finding for finding in running.verdict().findings if finding.id == "certificate-expired"]
    assert found.evidence[:2] == ("/conf/tls.crt (argument 2)", "the target serves at [::]:443")


def test_what_the_log_says_of_peers(running):
    found = repeated(tls(running), EXPIRED).finding("certificate-expired")
    assert (found.subject, found.severity) == ("api.test", "critical")


def test_a_clock_that_is_behind(running):
    found = repeated(tls(running), EXPIRED.replace("is after", "is before")).finding("certificate-expired")
    assert "timedatectl" in found.fix


def test_names_that_the_certificate_does_not_have(running):
    tls(running)
    words = f"{X509}certificate is valid for b.test, not api.test"
    found = repeated(running, words).finding("certificate-untrusted")
    assert found.subject == "api.test"
    assert "use a name that the certificate has" in found.fix


def test_clients_that_refuse_the_target(running):
    tls(running)
    words = "http: TLS handshake error from 10.0.0.9:4242: remote error: tls: unknown certificate authority"
    assert repeated(running, words).finding("certificate-untrusted").subject == "clients"


def test_a_peer_that_was_met(running):
    tls(running)
    chain = (certificate("api.test"),)
    running.add(TlsChecks, rows=(Handshake(address="api.test:443", protocol="TLSv1.3", chain=chain, verified=True),))
    assert running.ids() == []
    row = Handshake(
        address="api.test:443", chain=chain, verified=False, problem="unable to get local issuer certificate"
    )
    running.add(TlsChecks, at=9, rows=(row,))
    found = running.finding("certificate-untrusted")
    assert any("it sends api.test by Test CA" in text for text in found.evidence)
