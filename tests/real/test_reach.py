"""Walks to real services in real namespaces: each cause planted, and the way that is free."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.real.checks import GOTRIAGE
from tests.real.test_firewall import INSIDE, LOCAL, namespace, run

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def inside():
    with namespace() as enter:
        yield enter


def walk(*words):
    """Exit status, and the step that failed ("" for none)."""
    done = subprocess.run(
        [GOTRIAGE, "check", *map(str, words)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stderr, done.stderr
    failed = [line.split() for line in done.stdout.splitlines() if line.startswith("  ✖ ")]
    return done.returncode, failed[0][1] if failed else "", done.stdout


def test_the_way_is_free_and_what_is_sent_is_said(service, inside):
    running = service("svc", "-listen=0.0.0.0:8080", wrapper=inside)
    status, failed, text = walk("--pid", running.pid, "--reach", 8080)
    assert (status, failed) == (0, ""), text
    assert f"sent: one TCP connection to {INSIDE}:8080" in text
    assert walk("--pid", running.pid, "--reach", "127.0.0.1:8080")[:2] == (0, "")


def test_each_cause_in_its_place(service, inside):
    running = service("svc", "-listen=0.0.0.0:8080", wrapper=inside)
    assert walk("--pid", running.pid, "--reach", 9090)[:2] == (2, "listening")
    assert walk("--pid", running.pid, "--reach", "192.0.2.1:8080")[:2] == (2, "address")
    run(inside, "nft", "table ip t { chain in { type filter hook input priority 0; tcp dport 8080 drop; }; }")
    try:
        assert walk("--pid", running.pid, "--reach", 8080)[:2] == (2, "firewall")
    finally:
        run(inside, "nft", "delete table ip t")


def test_it_listens_at_loopback_only(service, inside):
    running = service("svc", "-listen=127.0.0.1:8081", wrapper=inside)
    status, failed, text = walk("--pid", running.pid, "--reach", 8081)
    assert (status, failed) == (2, "address")
    assert "it listens on 127.0.0.1 only" in text


def test_from_the_target(service, inside):
    running = service("svc", "-listen=0.0.0.0:8083", wrapper=inside)
    assert walk("--pid", running.pid, "--reach-from-target", "203.0.113.9:80")[:2] == (2, "route")
    assert walk("--pid", running.pid, "--reach-from-target", f"{LOCAL}:9")[:2] == (2, "answering")
    assert walk("--pid", running.pid, "--reach-from-target", "localhost:8083")[:2] == (0, "")


@pytest.mark.slow
def test_the_finding_as_json(service, inside):
    running = service("svc", "-listen=0.0.0.0:8084", wrapper=inside)
    status, _, text = walk("--pid", running.pid, "--reach", 9090, "--json")
    found = [json.loads(line) for line in text.splitlines()]
    assert (status, [one["id"] for one in found]) == (2, ["port-not-listening"])
    assert walk("--pid", running.pid, "--reach", 8084, "--json")[::2] == (0, "")


def test_a_unit_that_is_down(unit, in_lab):
    name = unit(start=False)
    status, failed, _ = walk(*in_lab(name), "--reach", 8080)
    assert (status, failed) == (2, "running")


def test_what_makes_no_sense(service):
    running = service("svc")
    assert walk("--pid", running.pid, "--reach", "x")[0] == 64
    assert walk("--pid", running.pid, "--reach-from-target", "80")[0] == 64
