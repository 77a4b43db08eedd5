"""`gotriage agent`: the public stream on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

AGENT = [sys.executable, "-m", "gotriage", "agent", "--pid"]


@pytest.fixture
def agent():
    """Starts agents; what is left of them is ended afterwards."""
    started = []

    def start(pid=None, **options):
        words = [*AGENT, str(pid or os.getpid())]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        started.append(subprocess.Popen(words, text=True, **options))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()
        for pipe in (one.stdin, one.stdout, one.stderr):
            if pipe:
                pipe.close()


def until(process, kind):
    """Read until a record of the kind."""
    for line in process.stdout:
        record = json.loads(line)
        if record["kind"] == kind:
            return record
    raise AssertionError(f"no {kind}: {process.stderr.read()}")


def test_header_target_heartbeats_and_nothing_else_than_records(agent):
    one = agent()
    assert json.loads(one.stdout.readline())["kind"] == "header"
    assert until(one, "target")["pid"] == os.getpid()
    assert until(one, "heartbeat")["collectors"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_an_end(agent, number):
    one = agent()
    until(one, "heartbeat")
    one.send_signal(number)
    assert until(one, "end")["reason"] == f"ended by {signal.Signals(number).name}"
    assert one.wait(10) == 0
    assert one.stderr.read() == ""


def test_it_ends_quietly_when_its_reader_goes(agent):
    one = agent()
    until(one, "header")
    one.stdout.close()
    assert one.wait(10) == 0
    assert one.stderr.read() == ""


def test_it_ends_when_its_requests_end(agent):
    one = agent(stdin=subprocess.PIPE)
    until(one, "heartbeat")
    one.stdin.write('{"id":1,"op":"refresh","collectors":["process"]}\n')
    one.stdin.flush()
    reply = until(one, "reply")
    assert (reply["id"], reply.get("ok", True)) == (1, True)
    one.stdin.close()
    assert until(one, "end")["reason"] == "the front has gone"
    assert one.wait(10) == 0


def test_a_target_that_is_not_there_is_one_line_and_an_end(agent):
    one = agent(pid=999999999)
    end = until(one, "end")
    assert end["exit_code"] == 3
    assert one.wait(10) == 3
    assert one.stderr.read() == f"gotriage: {end['reason']}\n"


def test_it_leaves_no_helper_behind(agent):
    one = agent()
    until(one, "heartbeat")
    one.terminate()
    one.wait(10)
    left = subprocess.run(["ps", "-o", "pid=", "--ppid", str(one.pid)], capture_output=True, text=True, check=False)
    assert left.stdout == ""
