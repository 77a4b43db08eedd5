"""What a walk has stopped at; ports that a service was told to listen on."""

from __future__ import annotations

import pytest
from gotriage.records.environment import Environment
from gotriage.records.files import FileTable, OpenFile
from gotriage.records.reach import Reach, ReachStep


def listens(story, *ports):
    rows = [
        OpenFile(pid=1, fd=n, type="socket", protocol="tcp6", state="LISTEN", local=f"[::]:{port}")
        for n, port in enumerate(ports)
    ]
    return story.add(FileTable, rows=tuple(rows))


def test_the_cause_of_a_walk(running):
    rows = (
        ReachStep(step="running"),
        ReachStep(step="listening", state="failed", says="it does not listen on port 80", finding="port-not-listening"),
        ReachStep(step="answering", state="left out"),
    )
    running.add(Reach, direction="in", port=80, rows=rows, reached=False)
    found = running.finding("port-not-listening")
    assert (found.severity, found.view) == ("critical", "reach")
    assert found.title == "port 80 cannot be reached: it does not listen on port 80"


def test_a_walk_that_has_reached_it_is_no_finding(running):
    running.add(Reach, direction="out", address="10.0.0.1", port=80, rows=(ReachStep(step="running"),), reached=True)
    assert running.ids() == []


@pytest.mark.parametrize(
    "argv",
    [
        ("svc", "-listen=:8080"),
        ("svc", "--web.listen-address", "0.0.0.0:8080"),
        ("svc", "--listen-client-urls=http://127.0.0.1:8080,http://10.0.0.1:8080"),
        ("svc", "--bind=[::]:8080"),
    ],
)
def test_told_to_listen_and_does_not(running, argv):
    listens(running.add(Environment, argv=argv), 9090)
    found = running.finding("port-not-listening")
    assert (found.severity, found.subject) == ("warning", "port 8080")
    assert found.evidence[1] == "it listens on 9090"
    assert listens(running, 9090, 8080).fine("port-not-listening").text == "listens on 8080 as told"


def test_told_by_a_variable(running):
    listens(running.add(Environment, env={"ORDERS_LISTEN_ADDR": ":8080", "LISTEN_FDS": "1"}), 9090)
    assert "ORDERS_LISTEN_ADDR=:8080" in running.finding("port-not-listening").evidence[0]


@pytest.mark.parametrize(
    "argv", [("svc", "-db-addr=10.0.0.1:5432"), ("svc", "-listen="), ("svc", "-listen=:0"), ("svc", "-bind-retries=5")]
)
def test_what_is_no_address_to_listen_on(running, argv):
    assert listens(running.add(Environment, argv=argv), 9090).ids() == []


def test_a_process_that_has_just_started_may_not_be_ready(story):
    listens(story.target(age=3).add(Environment, argv=("svc", "-listen=:8080")))
    assert story.ids() == []
