"""Calls of C libraries by real programs: counted exactly, in cgo programs too; and what cannot be seen, and why."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import closing, contextmanager

import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.calls.ltraced import LtraceCalls
from gotriage.collectors.calls.probed import ProbedCalls
from gotriage.errors import UsageError
from gotriage.goruntime.imports import imports
from gotriage.goruntime.live import LiveMemory
from gotriage.host import Host, tools

from tests.lab.process import wait_until
from tests.real.patients import changed_code
from tests.real.targets import target_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="probes of user functions take root"),
]

LOOP = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
	static const char *volatile digits = "1234";
	for (int round = 0;; round++) {
		if (strtol(digits, NULL, 10) + (long)strlen(digits) == 1) return puts(digits);
		usleep(1000);
		if (round == 0) write(1, "ready", 5);
	}
}
"""


@contextmanager
def traced(kind, pid, **options):
    target = target_of(pid)
    with closing(kind(target.host, target)) as tracer:
        tracer.start(options)
        yield tracer


def look(tracer):
    (record,) = tracer.collect()
    return record


def counts(record):
    return {row.function: row.count for row in record.rows}


@pytest.fixture(scope="module")
def looping(tmp_path_factory):
    """A C program with one thread, bound at each first call, as the linker did it before it cared."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "loop.c").write_text(LOOP)
    subprocess.run(["cc", "-O1", "-fno-builtin", "-Wl,-z,lazy", "-o", folder / "loop", folder / "loop.c"], check=True)
    with subprocess.Popen([folder / "loop"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.read(5) == b"ready"  # before that, libraries may not be mapped
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def cgo(module_service):
    return module_service("cgo")


def thousand(running):
    """Have it call, and wait until it has."""
    before = running.log.count("1000 times")
    os.kill(running.pid, signal.SIGUSR1)
    wait_until(lambda: running.log.count("1000 times") > before)


def test_every_call_of_a_cgo_program_is_counted_and_nothing_stays(cgo):
    thousand(cgo)  # strlen has several forms: which one is called is decided at the first call
    with traced(ProbedCalls, cgo.pid) as tracer:
        thousand(cgo)
        record = look(tracer)
        assert {name: counts(record)[name] for name in ("strtol", "strlen")} == {"strtol": 1000, "strlen": 1000}
        assert record.functions > 20
        assert any("/libc" in path for path in record.libraries)
        tracer.detach()
        assert changed_code(cgo.pid) == []
        thousand(cgo)
        tracer.attach()
        thousand(cgo)
        assert counts(look(tracer))["strtol"] == 2000
        assert tracer.meter().hits == look(tracer).count
    assert changed_code(cgo.pid) == []


def test_only_some_functions(cgo):
    thousand(cgo)
    with traced(ProbedCalls, cgo.pid, functions="str*") as tracer:
        thousand(cgo)
        record = look(tracer)
        assert {"strtol", "strlen"} <= counts(record).keys(), record
        assert all(name.startswith("str") for name in counts(record))
    for bad in ({"functions": "nothing_like_it"}, {"of": "x"}, {"what": "x"}):
        with pytest.raises(UsageError), traced(ProbedCalls, cgo.pid, **bad):
            pass


def test_the_price_names_functions_and_what_they_cost(cgo):
    target = target_of(cgo.pid)
    with closing(ProbedCalls(target.host, target)) as tracer:
        price = tracer.price({})
    assert not price.stops
    assert price.seconds_per_hit > 1e-6
    assert any("functions of" in word for word in price.words)


def test_functions_that_are_not_bound_yet_are_found_in_the_libraries(looping):
    memory = LiveMemory(looping.pid)
    with closing(memory):
        found = imports(memory)
    assert {"strtol", "usleep", "strlen", "puts"} <= {one.name for one in found.functions}
    with traced(ProbedCalls, looping.pid) as tracer:
        wait_until(lambda: counts(look(tracer)).get("usleep", 0) > 10)
        record = look(tracer)
    assert abs(counts(record)["usleep"] - counts(record)["strtol"]) <= 1


def test_a_static_program_says_why(module_service):
    running = module_service("healthy", "-rate=0")
    for kind in (ProbedCalls, LtraceCalls):
        with pytest.raises(Unavailable, match="linked statically"), traced(kind, running.pid):
            pass


ltrace = pytest.mark.skipif(tools.find("ltrace") is None, reason="ltrace is not installed")


@ltrace
def test_ltrace_is_refused_where_it_would_crash_the_program(cgo):
    with pytest.raises(Unavailable, match="several threads"):
        LtraceCalls(Host(), target_of(cgo.pid))


@ltrace
@pytest.mark.parametrize("who", ["nobody", "keeper", "stopped"])
def test_ltrace_on_a_program_with_one_thread(looping, who):
    with traced(LtraceCalls, looping.pid) as tracer:
        time.sleep(0.3)
        if who == "keeper":  # then ltrace is told to end by the kernel, and takes its breakpoints away
            os.kill(Host().proc.stat(tracer._run.pid).ppid, signal.SIGKILL)
            wait_until(lambda: tracer._run.ended)
        elif who == "stopped":
            os.kill(tracer._run.pid, signal.SIGSTOP)
        tracer.detach()
        record = look(tracer)
        assert record.way == "ltrace"
        assert counts(record)["usleep"] > 3
        assert next(row for row in record.rows if row.function == "usleep").each > 1e-3
    wait_until(lambda: Host().proc.status(looping.pid)["TracerPid"] == "0")
    time.sleep(0.1)
    assert looping.poll() is None
    assert changed_code(looping.pid) == []
