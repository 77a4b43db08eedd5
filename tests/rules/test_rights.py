"""Capabilities that lack, as Go's own error texts tell them."""

from __future__ import annotations

import pytest
from gotriage.records.environment import Environment
from gotriage.records.files import FileTable
from gotriage.records.namespaces import Namespace, Namespaces
from gotriage.records.service import UnitState

BIND = "listen tcp :80: bind: permission denied"


def rights(story, *held, **more):
    given = {"pid": 7, "uid": 998, "effective": held, "bounding": ("CAP_NET_BIND_SERVICE",), "port_start": 1024}
    return story.add(Namespaces, **(given | more))


def found(story):
    return [claim for claim in story.verdict().findings if claim.view == "namespaces"]


@pytest.mark.parametrize(
    ("line", "capability", "subject"),
    [
        (BIND, "CAP_NET_BIND_SERVICE", "port 80"),
        ("2026/11/23 listen udp4 10.0.0.1:53: bind: permission denied", "CAP_NET_BIND_SERVICE", "port 53"),
        ("listen tcp [::1]:443: bind: permission denied", "CAP_NET_BIND_SERVICE", "port 443"),
        ("listen ip4:icmp 0.0.0.0: socket: operation not permitted", "CAP_NET_RAW", "ip4:icmp"),
        ("chown /var/lib/x: operation not permitted", "CAP_CHOWN", "/var/lib/x"),
        ("lchown /x: operation not permitted", "CAP_CHOWN", "/x"),
        ("chmod /x: operation not permitted", "CAP_FOWNER", "/x"),
        ("Error: Failed to lock memory: cannot allocate memory", "CAP_IPC_LOCK", "lock memory"),
        ("setrlimit: operation not permitted", "CAP_SYS_RESOURCE", "setrlimit"),
    ],
)
def test_what_was_refused_names_its_capability(running, line, capability, subject):
    rights(running).log(line, 5).beat(9)
    (claim,) = found(running)
    assert (claim.id, claim.severity, claim.subject) == ("permission-denied", "warning", subject)
    assert f"it lacks {capability}" in claim.title
    assert claim.evidence[0].startswith("the log says so once, last at")
    assert "pid 7 runs as uid 998 with no capability in effect" in claim.evidence
    assert capability in claim.fix.upper()


@pytest.mark.parametrize(
    "line",
    [
        "listen tcp :8080: bind: permission denied",
        "listen tcp :99999: bind: permission denied",
        "listen tcp :80: bind: address already in use",
        "user 17: operation not permitted for table chown",
        "fork/exec /bin/x: resource temporarily unavailable: cannot allocate memory",
        "chown relative: operation not permitted",
    ],
)
def test_other_failures_are_no_matter_of_capabilities(running, line):
    rights(running).log(line, 5).beat(9)
    assert found(running) == []


def test_the_first_free_port_is_that_of_its_own_network(running):
    rights(running, port_start=8081).log("listen tcp :8080: bind: permission denied", 5).beat(9)
    (claim,) = found(running)
    assert "in its network namespace ports below 8081 need one (ip_unprivileged_port_start)" in claim.evidence


def test_one_that_has_it_is_refused_by_something_else(running):
    user = Namespace(type="user", host=False)
    rights(running, "CAP_CHOWN", seccomp=2, rows=(user,)).log("chown /x: operation not permitted", 5).beat(9)
    (claim,) = found(running)
    assert claim.title == "may not give away /x: it has CAP_CHOWN, something else refuses"
    assert "a seccomp filter is in force" in claim.evidence
    assert any("its user namespace is its own" in sentence for sentence in claim.evidence)
    assert "seccomp" in claim.fix
    assert "setcap" not in claim.fix


def test_without_a_look_only_the_log_speaks(story):
    story.log(BIND, 5, level="fatal")
    story.down().add(
        UnitState,
        name="web.service",
        active_state="failed",
        result="exit-code",
        exec_main_code=1,
        exec_main_status=1,
        exec_main_start=story.time(4),
        exec_main_exit=story.time(5),
    )
    claim = story.finding("permission-denied")
    assert (claim.severity, claim.title) == ("critical", "may not listen on port 80: that takes CAP_NET_BIND_SERVICE")
    assert story.finding("start-failure").because == "permission-denied"


def test_it_explains_the_port_that_nothing_listens_on(running):
    rights(running).add(Environment, argv=("svc", "--listen=:80")).add(FileTable).log(BIND, 5).beat(9)
    assert running.finding("port-not-listening").because == "permission-denied"


def test_old_lines_do_not_count_and_a_quiet_log_is_quiet(running):
    rights(running).log(BIND, 5).beat(400)
    assert found(running) == []


def test_no_new_privs_makes_setcap_of_no_use(running):
    rights(running, no_new_privs=True, bounding=()).log("chown /x: operation not permitted", 5).beat(9)
    (claim,) = found(running)
    assert "setcap makes" not in claim.fix
    assert "it is not in its bounding set either: no program that it starts can have it" in claim.evidence
