"""Certificates as OpenSSL makes and reads them, and bytes that are none."""

from __future__ import annotations

import random
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from gotriage.host import x509

DICE = 31


def made(folder, *words):
    command = ["openssl", "req", "-x509", "-nodes", "-keyout", "k", "-out", "c", "-days", "30", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "c").read_bytes()


def said_by_openssl(data, *words):
    done = subprocess.run(["openssl", "x509", "-noout", *words], input=data, capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("-newkey", "rsa:2048", "-sha256"), "RSA 2048"),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"), "ECDSA P-384"),
        (("-newkey", "ed25519"), "Ed25519"),
    ],
    ids=lambda word: word if isinstance(word, str) else "",
)
def test_the_fields_are_those_that_openssl_reads(tmp_path, words, key):
    names = "subjectAltName=DNS:a.test,DNS:*.b.test,IP:10.0.0.1,IP:::1"
    data = made(tmp_path, *words, "-subj", "/O=Firm/CN=orders", "-addext", names)
    (der,) = x509.pem(b"junk\n" + data + b"more\n")
    one = x509.parse(der)
    assert (one.subject, one.issuer, one.self_signed, one.is_ca, one.key) == ("orders", "orders", True, True, key)
    assert one.names == ("a.test", "*.b.test", "10.0.0.1", "::1")
    print_of = said_by_openssl(data, "-fingerprint", "-sha256").partition("=")[2].strip().replace(":", "").lower()
    assert one.fingerprint == print_of
    ends = re.sub(r".*=", "", said_by_openssl(data, "-enddate").strip())
    assert one.not_after == datetime.strptime(ends, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)


def test_no_bytes_do_harm(tmp_path):
    data = made(tmp_path, "-newkey", "ed25519", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:a.test")
    (der,) = x509.pem(data)
    dice = random.Random(DICE)
    for _ in range(1500):
        changed = bytearray(der)
        for _ in range(dice.randrange(1, 5)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        with suppress(x509.BadCertificate):
            x509.parse(bytes(changed[: dice.randrange(len(changed) + 1)]))


def test_a_name_with_escapes_is_clean(tmp_path):
    data = made(tmp_path, "-newkey", "ed25519", "-utf8", "-subj", "/CN=a\x1b[2Jb")
    (der,) = x509.pem(data)
    assert "\x1b" not in x509.parse(der).subject


def test_text_without_an_end():
    begin = b"-----BEGIN CERTIFICATE-----\n"
    assert list(x509.pem(begin * 50_000)) == []
    assert list(x509.pem(begin + b"A" * 500_000)) == []
    assert list(x509.pem(begin + b"A===\n-----END CERTIFICATE-----\n")) == [b""]
