"""Bundles and directories that are made to hurt: each is a word in the table, and nothing outside the root is read."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime

import pytest
from gotriage.collectors.tls import roots
from gotriage.collectors.tls.checks import parse_options
from gotriage.collectors.tls.settings import named
from gotriage.errors import UsageError
from gotriage.host.inroot import InRoot
from gotriage.host.permissions import Identity
from gotriage.host.rights import Rights

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pem")
    command = "req -x509 -nodes -newkey ed25519 -keyout k -out c -days 9000 -subj /CN=x"
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return (folder / "c").read_bytes()


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    return tmp_path


def load(tree, env=None, who=None):
    with InRoot(str(tree)) as root:
        pool = roots.load(root, env or {}, Rights(who) if who is not None else None, NOW)
    return pool, {one.path: one for one in pool.sources}


def sparse(path):
    with path.open("wb") as file:
        file.truncate(10 << 30)


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (lambda path: os.mkfifo(path), "unreadable"),
        (lambda path: path.mkdir(), "unreadable"),
        (lambda path: path.symlink_to(path.name), "unreadable"),
        (lambda path: path.symlink_to("/etc/hostname"), "missing"),
        (lambda path: path.symlink_to("../../../../../../../etc/ssl/certs/ca-certificates.crt"), "unreadable"),
        (sparse, "empty"),
    ],
    ids=["fifo", "directory", "loop", "link to the host", "way out", "10 GB"],
)
def test_a_trap_in_place_of_the_bundle(tree, make, state):
    make(tree / BUNDLE[1:])
    pool, sources = load(tree)
    assert sources[BUNDLE].state == state
    assert pool.certificates == {}


def test_a_directory_with_very_many_files_and_traps(tree, pem):
    folder = tree / "etc/ssl/certs"
    for number in range(3000):
        (folder / f"{number:05}.pem").write_bytes(b"")
    (folder / "00000.pem").write_bytes(pem)
    (folder / "00000-link.pem").symlink_to("00000.pem")
    (folder / "00000-other.pem").symlink_to("/etc/ssl/certs/00000.pem")
    os.mkfifo(folder / "00000-fifo")
    pool, sources = load(tree)
    assert len(pool.certificates) == 1
    assert (sources[BUNDLE].state, sources["/etc/ssl/certs"].state) == ("missing", "loaded")


def test_the_first_file_is_enough_and_rights_count(tree, pem):
    (tree / BUNDLE[1:]).write_bytes(pem)
    (tree / "etc/ssl/cert.pem").write_bytes(pem)
    _, sources = load(tree)
    assert (sources[BUNDLE].state, sources["/etc/ssl/cert.pem"].state) == ("loaded", "passed over")
    tree.chmod(0o755)
    (tree / BUNDLE[1:]).chmod(0o600)
    _, sources = load(tree, who=Identity(7, 7, frozenset(), frozenset()))
    assert (sources[BUNDLE].state, sources["/etc/ssl/cert.pem"].state) == ("unreadable", "loaded")


def test_variables_are_taken_as_they_are(tree):
    _, sources = load(tree, {"SSL_CERT_FILE": "conf/ca.pem", "SSL_CERT_DIR": ":".join(["/nowhere"] * 1000)})
    assert sources["conf/ca.pem"].reason.startswith("a relative path")
    assert len(sources) == 2


def test_certificates_among_arguments_and_variables():
    argv = ["svc", "-cert=/conf/tls.crt", "--key", "/conf/tls.key", "ca.pem", "/etc/x.conf"]
    env = {"CLIENT_CERT": "/conf/client.pem", "SSL_CERT_FILE": "/conf/ca.pem", "URL": "https://a/b.pem"}
    assert named(argv, env, "/srv") == [
        ("/conf/tls.crt", "argument 1"),
        ("/srv/ca.pem", "argument 4"),
        ("/conf/client.pem", "CLIENT_CERT"),
    ]


@pytest.mark.parametrize(
    "options",
    [{"peer": "a:99999"}, {"peer": "a b:1"}, {"peer": "-x:\x1b"}, {"sni": "a/b"}, {"to": "a:1"}, {"peer": "a,b,c,d"}],
    ids=["port", "space", "escape", "sni", "option", "many"],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(UsageError):
        parse_options(options)


def test_options():
    assert parse_options({"peer": "a.test,[::1]:8443"}) == ([("a.test", 443), ("::1", 8443)], "")
