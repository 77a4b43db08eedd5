"""The container's page on both sizes: what is wrong first; unknown is not none; outside of containers it says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gotriage.host import engine_parse
from gotriage.records.findings import Verdict
from gotriage.records.service import ContainerState
from gotriage.session.store import Session

from tests.ui import made
from tests.ui.screens import LARGE, SMALL, shown

KEY = "Q"
RICH = Path(__file__).parents[1] / "fixtures/docker/20.10/inspect_rich.json"


def front_with(state: ContainerState):
    session = Session()
    for record in (*made.beginning(), state):
        session.feed(record)
    return made.front(session, Verdict())


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_an_ill_container(size):
    state = engine_parse.inspected("docker", json.loads(RICH.read_text()))
    seen = shown(front_with(engine_parse.with_source(state, "api")), KEY, size=size)
    words = ["▲ unhealthy", "times in a row", "the image has no shell", "docker, as told by its engine", "on-failure:4"]
    if size == LARGE:
        words += ["/svc -tick=1s", "/etc  read-only", "orders-7d9", "+NET_BIND_SERVICE -ALL", "64.0M", "json-file"]
    for word in words:
        assert word in " ".join(seen.split()) if size == SMALL else word in seen, seen


def test_what_state_files_do_not_tell_is_no_none():
    state = ContainerState(at=made.START, engine="podman", id="a" * 64, name="web", source="files", status="running")
    seen = shown(front_with(state), KEY, size=LARGE)
    assert "(not told by state files)" in seen
    assert "privileged" not in seen
    by_cgroup = engine_parse.changed(state, source="cgroup")
    seen = shown(front_with(by_cgroup), KEY, size=LARGE)
    assert "the cgroup alone" in seen
    assert "Limits" not in seen.partition("as told by")[2]


def test_outside_of_containers():
    session = Session()
    for record in made.beginning():
        session.feed(record)
    assert "the target is in no container" in shown(made.front(session, Verdict()), KEY, size=SMALL)
