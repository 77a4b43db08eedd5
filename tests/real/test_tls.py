"""Authorities and certificates of services: in roots, namespaces and with files of their own, by real handshakes."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
from contextlib import contextmanager

import pytest
from gotriage.host import x509

from tests.lab import toolchain
from tests.lab.folders import let_enter
from tests.lab.process import Start, started
from tests.real.checks import GOTRIAGE, check

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of their own take root")]
NO_BUNDLE = (
    "unshare", "--mount", "sh", "-c",
    "for d in /etc/ssl /etc/pki; do [ ! -d $d ] || mount -t tmpfs none $d; done; exec \"$0\" \"$@\"",
)  # fmt: skip
"""Where Go looks there is nothing."""
ENV = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT")}


def openssl(folder, *words):
    subprocess.run(["openssl", *map(str, words)], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority with an intermediate; certificates of a server for orders.test and 127.0.0.1, one long expired."""
    folder = tmp_path_factory.mktemp("pki")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(folder, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "400", "-subj", "/CN=Test CA")
    for name, issuer, extension in (
        ("middle", "ca", "basicConstraints=critical,CA:TRUE"),
        ("good", "middle", "subjectAltName=DNS:orders.test,IP:127.0.0.1"),
        ("old", "middle", "subjectAltName=DNS:orders.test,IP:127.0.0.1"),
    ):
        openssl(folder, "req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text(extension)
        days = ("-days", "-1") if name == "old" else ("-days", "100")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key",
                "-CAcreateserial", "-out", f"{name}.pem", "-extfile", "ext", *days)  # fmt: skip
    for name in ("good", "old"):
        text = (folder / f"{name}.pem").read_text() + (folder / "middle.pem").read_text()
        (folder / f"{name}-chain.pem").write_text(text)
    return let_enter(folder)


def unreadable(path):
    """The certificate with a signature that is no bit string: we read past it, OpenSSL does not."""
    der = bytearray(ssl.PEM_cert_to_DER_cert(path.read_text()))
    signature = x509._inside(bytes(der), x509._one(bytes(der), 0, len(der)))[2]
    der[signature.begin] = 0x04
    with pytest.raises(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=bytes(der))
    return ssl.DER_cert_to_PEM_cert(bytes(der)).encode()


@contextmanager
def outward(*arguments, env=None, **more):
    with started(Start(toolchain.build("outward"), arguments, env={**ENV, **(env or {})}, **more)) as running:
        yield running


@contextmanager
def serving(pki, name="good-chain"):
    key = name.removesuffix("-chain")
    with outward(f"-cert={pki / name}.pem", f"-key={pki / key}.key") as running:
        yield running


def show(running, *words):
    """The records of `show tls`, by kind."""
    done = subprocess.run(
        [GOTRIAGE, "show", "tls", "--json", "--pid", str(running.pid), *words],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {record["kind"]: record for record in map(json.loads, done.stdout.splitlines())}


def meet(running, *options):
    words = [word for option in options for word in ("--option", option)]
    return show(running, "--trace", "tls_checks", *words)["tls_checks"]


def found(*words):
    """Findings on certificates, by id."""
    return {one["id"]: one for one in check(*words)[0] if one["id"].startswith(("ca-", "certificate"))}


@pytest.mark.parametrize(
    "case",
    [
        "usual",
        "directory",
        *(pytest.param(case, marks=pytest.mark.slow) for case in ("file", "file and directory", "broken file", "link")),
    ],
)
def test_the_pool_is_the_one_that_go_loads(pki, tmp_path, case):
    """As many authorities as the program counts itself, once it has written a line on them."""
    for name in ("ca", "middle"):
        (tmp_path / f"{name}.pem").write_bytes((pki / f"{name}.pem").read_bytes())
    (tmp_path / "twice.pem").symlink_to("ca.pem")
    (tmp_path / "elsewhere.pem").symlink_to(pki / "good.pem")
    broken = tmp_path / "broken"
    broken.write_bytes(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + (pki / "ca.pem").read_bytes()
    )
    nowhere = {"SSL_CERT_DIR": "/nowhere"}
    env = {
        "usual": {},
        "file": {"SSL_CERT_FILE": str(pki / "good-chain.pem"), **nowhere},
        "directory": {"SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": f"/nowhere:{tmp_path}"},
        "file and directory": {"SSL_CERT_FILE": str(pki / "ca.pem"), "SSL_CERT_DIR": str(tmp_path)},
        "broken file": {"SSL_CERT_FILE": str(broken), **nowhere},
        "link": {"SSL_CERT_FILE": str(tmp_path / "twice.pem"), **nowhere},
    }[case]
    with outward("-roots", env=env) as it:
        it.wait_for(lambda: "service up" in it.log)
        assert f"authorities {show(it)['tls']['roots']}\n" in it.log


@pytest.mark.slow
def test_variables_that_lead_nowhere(pki, tmp_path):
    with outward(env={"SSL_CERT_FILE": str(pki / "ca.pem"), "SSL_CERT_DIR": str(tmp_path)}) as it:
        seen = show(it)["tls"]
    assert seen["roots"] == 1
    assert [source["state"] for source in seen["sources"]] == ["loaded", "loaded"]
    with outward(env={"SSL_CERT_FILE": "/nowhere/ca.pem", "SSL_CERT_DIR": str(tmp_path)}) as it:
        seen = show(it)["tls"]
        (finding,) = found("--pid", it.pid, "--for", "2s").values()
    assert (seen["roots"], seen["sources"][0]["state"]) == (0, "missing")
    assert (finding["id"], finding["severity"]) == ("ca-bundle-missing", "warning")
    assert "/nowhere/ca.pem" in finding["evidence"][0]


def test_a_bundle_that_its_user_may_not_read(pki, tmp_path):
    secret = tmp_path / "ca.pem"
    secret.write_bytes((pki / "ca.pem").read_bytes())
    secret.chmod(0o600)
    let_enter(tmp_path)
    with outward(env={"SSL_CERT_FILE": str(secret), "SSL_CERT_DIR": "/nowhere"}, uid=65534) as it:
        source = show(it)["tls"]["sources"][0]
    assert source["state"] == "unreadable"
    assert "uid 65534 may not read" in source["reason"]


def test_no_bundle_matters_where_a_peer_is_refused_for_it(pki):
    with serving(pki) as server:
        url = f"-get=https://{server.address}/"
        with outward(url, wrapper=NO_BUNDLE) as it:
            findings = found("--pid", it.pid, "--for", "3s")
        assert findings["ca-bundle-missing"]["severity"] == "critical"
        assert set(findings) == {"ca-bundle-missing", "certificate-untrusted"}
        with outward(url, env={"SSL_CERT_FILE": str(pki / "ca.pem")}) as it:
            assert found("--pid", it.pid, "--for", "2s") == {}
    with outward(wrapper=NO_BUNDLE) as it:
        assert found("--pid", it.pid, "--for", "2s") == {}


@pytest.mark.slow
def test_a_peer_is_verified_with_the_targets_bundle(pki):
    with serving(pki) as server, outward(env={"SSL_CERT_FILE": str(pki / "ca.pem")}) as it:
        (row,) = meet(it, f"peer={server.address}")["rows"]
        assert row["verified"] is True
        assert [one["subject"] for one in row["chain"]] == ["good", "middle"]
        (row,) = meet(it, f"peer={server.address}", "sni=other.test")["rows"]
        assert row["verified"] is False
        assert "other.test" in row["problem"] or "ostname mismatch" in row["problem"]
    (pki / "mixed.pem").write_bytes(unreadable(pki / "good.pem") + (pki / "ca.pem").read_bytes())
    with (
        serving(pki) as server,
        outward(env={"SSL_CERT_FILE": str(pki / "mixed.pem"), "SSL_CERT_DIR": "/nowhere"}) as it,
    ):
        record = meet(it, f"peer={server.address}")
    assert (record["roots"], record["rows"][0]["verified"]) == (2, True)
    with serving(pki, "good") as server, outward(env={"SSL_CERT_FILE": str(pki / "ca.pem")}) as it:
        record = meet(it, f"peer={server.address}")
    assert record["rows"][0]["verified"] is False
    assert [trap["id"] for trap in record["traps"]] == ["incomplete-chain"]


def test_an_expired_certificate_is_told_by_its_file_and_by_the_handshake(pki):
    with serving(pki, "old-chain") as it:
        assert found("--pid", it.pid, "--for", "2s")["certificate-expired"]["severity"] == "critical"
        (row,) = meet(it)["rows"]
    assert (row["own"], row["chain"][0]["subject"], row["chain"][0]["names"]) == (
        True,
        "old",
        ["orders.test", "127.0.0.1"],
    )


@pytest.mark.slow
def test_a_certificate_that_was_renewed_and_not_loaded(pki, tmp_path):
    cert = tmp_path / "served.pem"
    cert.write_bytes((pki / "good-chain.pem").read_bytes())
    with outward(f"-cert={cert}", f"-key={pki / 'good.key'}") as it:
        assert not meet(it)["traps"]
        cert.write_bytes((pki / "old-chain.pem").read_bytes())
        assert [trap["id"] for trap in meet(it)["traps"]] == ["not-reloaded"]


@pytest.mark.slow
def test_clients_that_refuse_the_target(pki):
    with (
        serving(pki) as server,
        outward(f"-get=https://{server.address}/", env={"SSL_CERT_FILE": str(pki / "old.pem")}),
    ):
        finding = found("--pid", server.pid, "--for", "3s")["certificate-untrusted"]
    assert finding["subject"] == "clients"


@pytest.mark.slow
def test_a_peer_that_never_answers_is_left_alone(pki):
    with socket.create_server(("127.0.0.1", 0)) as silent, outward() as it:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        (row,) = meet(it, f"peer={address}")["rows"]
    assert "no answer" in row["error"] or "timed out" in row["error"]
