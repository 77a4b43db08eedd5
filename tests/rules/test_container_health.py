"""What an engine's health check tells, and what is typed for containers of each engine and in pods."""

from __future__ import annotations

import pytest
from gotriage.records.service import ContainerState, Pod
from gotriage.rules import remedies
from gotriage.rules.evidence import Evidence

NO_SHELL = (
    "status -1: OCI runtime exec failed: exec failed: unable to start container process: "
    'exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown'
)
ID = "container-unhealthy"


def box(story, **fields):
    given = {"engine": "docker", "id": "ab" * 32, "name": "web", "status": "running", "source": "api", **fields}
    story.target(unit=None, container_id=given["id"], container_name=given["name"], engine=given["engine"])
    return story.add(ContainerState, **given)


def test_a_failing_check(story):
    box(story, health="unhealthy", health_failing=7, health_output="status 1: connection refused", health_test="CMD /c")
    found = story.finding(ID)
    assert (found.severity, found.title) == ("warning", "the health check failed 7 times in a row")
    assert found.evidence == ("the last one said: status 1: connection refused", "it runs CMD /c")
    assert "docker inspect web; docker logs --tail 50 web" in found.fix


def test_a_check_that_the_image_cannot_run(story):
    box(story, health="unhealthy", health_failing=3, health_output=NO_SHELL, health_test="CMD-SHELL exit 1")
    found = story.finding(ID)
    assert found.title == "the health check cannot run: failed 3 times in a row"
    assert "without a shell" in found.fix


@pytest.mark.parametrize("health", ["", "starting", "none", "healthy"])
def test_no_claim_without_a_failure(story, health):
    box(story, health=health)
    assert ID not in story.ids()
    assert [claim.text for claim in story.verdict().fine if claim.id == ID] == (
        ["health check passes"] if health == "healthy" else []
    )


def test_one_that_does_not_run_is_another_matter(story):
    box(story, status="exited", health="unhealthy", health_failing=3)
    story.down(container_id="ab" * 32, engine="docker")
    assert ID not in story.ids()


POD = Pod("shop", "orders-7d9", "api")


@pytest.mark.parametrize(
    ("engine", "pod", "lines"),
    [
        ("docker", None, ("docker restart web", "docker logs --tail 50 web", "docker start web", "docker inspect web")),
        ("nspawn", None, ("machinectl reboot web", "journalctl -M web -n 50", "machinectl start web")),
        ("lxc", None, ("lxc-stop -n web; lxc-start -n web", "its log", "lxc-start -n web", "lxc-info -n web")),
        ("containerd", None, ("restart it", "crictl logs --tail 50 abababababab", "", "crictl inspect abababababab")),
        (
            "containerd",
            POD,
            (
                "kubectl -n shop delete pod orders-7d9 (what made it makes it anew)",
                "kubectl -n shop logs orders-7d9 -c api --tail 50",
                "",
                "kubectl -n shop describe pod orders-7d9",
            ),
        ),
    ],
)
def test_what_is_typed(story, engine, pod, lines):
    box(story, engine=engine, pod=pod)
    given = Evidence(story.session, {})
    shown = (remedies.restart(given), remedies.logs(given), remedies.start(given), remedies.inspect(given))
    assert shown[: len(lines)] == lines
    assert remedies.control(given) == (engine if engine == "docker" else "")
    assert remedies.in_pod(given) == (pod is not None)


def test_names_of_a_pod_are_words(story):
    box(story, engine="containerd", pod=Pod("shop; reboot", "$(id)", "a b"))
    given = Evidence(story.session, {})
    assert remedies.logs(given) == "kubectl -n 'shop; reboot' logs '$(id)' -c 'a b' --tail 50"
