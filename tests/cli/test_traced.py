"""`show` of what is traced: it asks the price, starts, waits for the end, and says what has to be known of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from datetime import timedelta
from pathlib import Path

import pytest
from gotriage import catalog
from gotriage.cli.traced import Wanted, look, price_words, remarks
from gotriage.errors import EXIT_USAGE, MissingFacility, NotPermitted, UsageError
from gotriage.records.process import HostSample
from gotriage.records.stream import CollectorState, Heartbeat, Reply
from gotriage.records.tracing import Price, Trace, Traces

from tests.ui.made import START

STRACE = [row for row in catalog.SOURCES if row.name in ("syscalls", "strace")]


class Agent:
    """The agent's end of a link: answers as it is told to; `asked` is what it was asked."""

    def __init__(self, **rows: Trace) -> None:
        self.rows, self.asked, self.ready, self.errors = rows, [], [], {}
        self.now = START

    def attach(self, seconds: float) -> bool:
        beat = Heartbeat(at=self.now, collectors=dict.fromkeys(("syscalls", "strace"), CollectorState()))
        self.ready.append(beat)
        return True

    def request(self, op, collectors=(), **more):
        self.asked.append((op, *collectors, more.get("seconds"), more.get("options")))
        number = len(self.asked)
        row = self.rows.get(op)
        if row is not None:
            self.ready.append(Traces(at=self._at(), rows=(row,)))
        error = self.errors.get(op, "")
        self.ready.append(
            Reply(at=self._at(), id=number, ok=not error and getattr(row, "state", "") != "refused", error=error)
        )
        if op == "start" and row is not None and row.active:
            self.ready.append(HostSample(at=self._at(), cpus=4))
            self.ready.append(Traces(at=self._at(), rows=(self.rows["end"],)))
        return number

    def _at(self):
        self.now += timedelta(milliseconds=10)
        return self.now

    def poll(self, seconds: float):
        ready, self.ready = self.ready, []
        return ready or None


def trace(state, **fields):
    return Trace(**{"source": "strace", "state": state, "backend": "strace", "price_class": "stops", **fields})


def wanted(name="strace", *, agreed=True, seconds=2.0, options=None):
    row = next(row for row in STRACE if row.name == name)
    return Wanted(row, options or {}, seconds, agreed)


PRICED = trace("priced", price=Price(2000.0, 60e-6, stops=True, words=("it stops each call",)))
ENDED = trace("ended", reason="its time is over", attached_seconds=2.0)


def test_a_trace_is_priced_started_and_waited_for(capsys):
    agent = Agent(price=PRICED, start=trace("running"), end=ENDED)
    session = look(agent, wanted(options={"calls": "file"}))
    assert agent.asked == [("price", "strace", None, {"calls": "file"}), ("start", "strace", 2.0, {"calls": "file"})]
    assert session.latest(HostSample).cpus == 4
    told = capsys.readouterr().err.splitlines()
    assert told[0] == ("gotriage: strace: stops, 2s; about 2,000 hits/s, 0.12 cores of the target; it stops each call")
    assert told[1] == "gotriage: strace: strace, attached 2s"


def test_what_stops_the_target_needs_a_yes(capsys):
    agent = Agent(price=PRICED)
    with pytest.raises(UsageError, match="strace stops the target while it runs; --yes starts it"):
        look(agent, wanted(agreed=False))
    assert [one[0] for one in agent.asked] == ["price"]
    assert "about 2,000 hits/s" in capsys.readouterr().err


def test_an_option_that_nothing_could_take_is_named():
    agent = Agent()
    agent.errors["price"] = "budget 'x' is not a percentage of the target's CPU, nor off"
    with pytest.raises(UsageError, match=r"^syscalls: budget 'x' is not a percentage"):
        look(agent, wanted("syscalls", options={"budget": "x"}))
    assert [one[0] for one in agent.asked] == ["price"]


def test_a_light_one_with_options_says_its_price_too(capsys):
    row = trace("priced", source="syscalls", price=Price(words=("two processes",)))
    agent = Agent(price=row, start=trace("running", source="syscalls"), end=trace("ended", source="syscalls"))
    look(agent, wanted("syscalls", options={"level": "counts"}))
    assert [one[0] for one in agent.asked] == ["price", "start"]
    assert "syscalls: light, 2s; two processes" in capsys.readouterr().err


def test_a_light_one_asks_for_nothing():
    agent = Agent(start=trace("running", source="syscalls"), end=trace("ended", source="syscalls"))
    look(agent, wanted("syscalls", agreed=False))
    assert [one[0] for one in agent.asked] == ["start"]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"reason": "no option 'x'"}, UsageError),
        ({"reason": "strace is not installed", "passed_over": ("strace: no",)}, MissingFacility),
        ({"reason": "ptrace(2): Operation not permitted", "remedy": "run as root"}, NotPermitted),
    ],
)
@pytest.mark.parametrize("op", ["price", "start"])
def test_a_refusal_says_why_and_what_would_help(row, kind, op):
    refused = trace("refused", **row)
    agent = Agent(**{"price": PRICED, op: refused})
    with pytest.raises(kind) as caught:
        look(agent, wanted())
    assert str(caught.value) == f"strace: {row['reason']}" + (f"; {row['remedy']}" if "remedy" in row else "")


def test_what_has_to_be_known_to_read_the_numbers():
    row = trace("ended", reason="over its budget", on_share=0.1, lost=1200, passed_over=("libbpf: no BTF",))
    assert remarks(row) == [
        "strace: strace, attached 0s",
        "strace: sampled 10 % of the time, to stay within its budget",
        "strace: 1,200 events were lost",
        "strace: not by libbpf: no BTF",
        "strace: ended: over its budget",
    ]
    assert remarks(None) == []


def test_a_budget_in_words():
    assert price_words(trace("priced", price=Price(), budget=0.02), wanted()) == (
        "stops, 2s; held to 2% of the target's CPU"
    )


def arguments(**fields):
    return Namespace(**{"trace": None, "seconds": None, "option": [], "yes": False, **fields})


def test_what_the_command_line_asks_for():
    assert Wanted.of(arguments(), "syscalls", STRACE).source.name == "syscalls"
    asked = Wanted.of(arguments(trace="strace", seconds=5.0, option=[("calls", "file")], yes=True), "syscalls", STRACE)
    assert (asked.source.name, asked.seconds, asked.options, asked.agreed) == ("strace", 5.0, {"calls": "file"}, True)
    with pytest.raises(UsageError, match="no trace 'x' of syscalls; there are: syscalls, strace"):
        Wanted.of(arguments(trace="x"), "syscalls", STRACE)
    with pytest.raises(UsageError, match="strace runs for 30s at most"):
        Wanted.of(arguments(trace="strace", seconds=31.0), "syscalls", STRACE)


def run(*words):
    command = [sys.executable, "-m", "gotriage", "show", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="traces of the kernel take root")
def test_a_real_one_counts_what_a_service_does(service):
    running = service("healthy", "-rate=100")
    done = run("syscalls", "--pid", running.pid, "--for", "1s", "--json")
    assert done.returncode == 0, done.stderr
    facts, *rows = map(json.loads, done.stdout.splitlines())
    assert facts["kind"] == "syscalls"
    assert facts["attached"] >= 0.9
    assert {row["call"]: row["count"] for row in rows}["write"] > 20
    refused = run("syscalls", "--pid", running.pid, "--trace", "strace", "--for", "1s")
    assert refused.returncode == EXIT_USAGE
    assert "--yes starts it" in refused.stderr
    assert "TracerPid:\t0\n" in Path(f"/proc/{running.pid}/status").read_text()
