"""Which container a reference means."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from gotriage.errors import AmbiguousTarget, NoSuchTarget, NotPermitted, UsageError
from gotriage.host.engine_api import Endpoint
from gotriage.host.engines import Survey
from gotriage.records.service import ContainerState
from gotriage.records.target import TargetSpec
from gotriage.target.by_container import chosen
from gotriage.target.resolve import resolve

from tests.collectors.fakes import fake_host

AT = datetime(2026, 11, 23, tzinfo=UTC)


def container(id_, name="", engine="docker", **labels):
    keys = {"ns": "io.kubernetes.pod.namespace", "pod": "io.kubernetes.pod.name", "c": "io.kubernetes.container.name"}
    found = {keys[key]: value for key, value in labels.items()}
    return ContainerState(at=AT, engine=engine, id=id_.ljust(64, "0"), name=name, labels=found)


WEB = container("ab1", "web-1")
OTHER = container("ab2", "web-2")
HEXLIKE = container("c0", "ab1")
LXC = ContainerState(at=AT, engine="lxc", id="web-2", name="web-2")
POD = container("d1", "k8s_api", ns="shop", pod="orders", c="api")
SIDECAR = container("d2", "k8s_proxy", ns="shop", pod="orders", c="proxy")
PAUSE = container("d3", "k8s_POD", ns="shop", pod="orders", c="POD")
ALL = Survey((WEB, OTHER, LXC, POD, SIDECAR, PAUSE), ("podman's API service does not run",))


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("web-1", WEB),
        ("/web-1", WEB),
        ("ab1", WEB),
        ("ab1".ljust(64, "0"), WEB),
        ("docker://web-2", OTHER),
        ("lxc://web-2", LXC),
        ("shop/orders/api", POD),
        ("shop/orders/proxy", SIDECAR),
    ],
)
def test_what_is_meant(reference, meant):
    assert chosen(reference, ALL) is meant


def test_a_name_wins_over_a_prefix():
    assert chosen("ab1", Survey((WEB, HEXLIKE))) is HEXLIKE


@pytest.mark.parametrize(
    ("reference", "words"),
    [("ab", ["ab1", "ab2", "web-1"]), ("web-2", ["docker://", "lxc://web-2"]), ("shop/orders", ["api", "proxy"])],
)
def test_what_is_ambiguous_lists_the_candidates(reference, words):
    with pytest.raises(AmbiguousTarget) as caught:
        chosen(reference, ALL)
    assert all(word in str(caught.value) for word in words)
    assert "POD" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("wev-1", "near: web-1"),
        ("nothing-like-it", "podman's API service does not run"),
        ("shop/orders/apy", "near: shop/orders/api"),
        ("shop/none", "no container shop/none"),
        ("\x1b[31mweb", "␛[31mweb"),
    ],
)
def test_what_is_unknown(reference, words):
    with pytest.raises(NoSuchTarget) as caught:
        chosen(reference, ALL)
    assert words in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_no_containers_and_no_pods():
    with pytest.raises(NoSuchTarget, match="no engine here knows any"):
        chosen("web", Survey())
    with pytest.raises(NoSuchTarget, match="no container here has Kubernetes' labels"):
        chosen("a/b", Survey((WEB,)))


def test_what_may_not_be_looked_at_is_no_proof_that_it_is_not_there():
    refused = ("podman: /run/podman/podman.sock: permission denied", "/var/lib/docker/containers: permission denied")
    with pytest.raises(NotPermitted, match=r"no container web as far as .*podman.sock.*run gotriage as root \(sudo\)"):
        chosen("web", Survey((LXC,), refused=refused))
    assert chosen("web-2", Survey((LXC,), refused=refused)) is LXC
    answered = Survey((WEB, OTHER), refused=refused, endpoints={WEB.id: Endpoint("docker", Path("/run/docker.sock"))})
    with pytest.raises(NoSuchTarget, match="web-1"):
        chosen("web", answered)


@pytest.mark.parametrize("reference", ["", "   ", "x" * 601])
def test_bad_references(tmp_path, reference):
    with pytest.raises(UsageError):
        resolve(TargetSpec("container", reference), fake_host(tmp_path))


@pytest.mark.parametrize("reference", ["a/b/c/d", "a//b", "a/"])
def test_bad_pods(reference):
    with pytest.raises(UsageError, match="NAMESPACE/POD"):
        chosen(reference, ALL)
