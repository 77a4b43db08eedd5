"""Whoever is killed, stopped or crashed while a trace runs: the service goes on unchanged, and nothing is left.

For every source and backend of the catalogue that runs on request; which processes and how, at random moments that are
the same in each run. What a backend needs and this machine lacks is what `show` says, and the reason of the skip.
"""

from __future__ import annotations

import itertools
import os
import signal
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from gotriage import catalog
from gotriage.agent.backends import load
from gotriage.collectors.probes.choice import NAMES
from gotriage.errors import EXIT_MISSING, EXIT_OK
from gotriage.host import tracefs
from gotriage.host.proc import Proc

from tests.lab.process import wait_until
from tests.real import family, harm, patients
from tests.real.harm import Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import Popen

    from gotriage.catalog import Source

    from tests.real.harm import Ward

pytestmark = pytest.mark.real
OPTIONS: dict[str, dict[str, str]] = {"probes": {"probe": "execs,opens"}}
"""What a source is started with besides, where it does nothing without."""
MORE: dict[str, tuple[str, ...]] = {"probes": NAMES[1:]}
"""Backends that a source chooses among by itself."""
MANY = 200
LONG = 30.0
"""Seconds that a trace would run."""
DICE = harm.moments("one for each backend")


def _backends() -> list[tuple[str, str, str]]:
    """View, source and backend of all that is traced; an active check touches nothing of the target."""
    return [
        (view.id, source.name, backend)
        for view in catalog.VIEWS
        for name in view.sources
        if (source := catalog.source(name)) is not None and source.asked and not source.sends
        for backend in (*(load(path).backend for path in source.backends), *MORE.get(name, ()))
    ]


RARER = ("perf_event_open", "process_vm_readv", "perf events", "BPF at system calls", "BCC")
"""Backends that come second, or that leave nothing in the kernel: with --full only."""
PARAMETERS = ("view", "source", "backend")
ALL = pytest.mark.parametrize(PARAMETERS, _backends(), ids=lambda word: word)
FIRST = pytest.mark.parametrize(
    PARAMETERS,
    [pytest.param(*one, marks=[pytest.mark.slow] if one[2] in RARER else []) for one in _backends()],
    ids=lambda word: word,
)


@pytest.fixture(scope="module")
def wards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ward]]:
    """The ward of a backend: its patient is one that it serves for."""
    with family.adopting(), ExitStack() as stack:
        known: dict[str, Ward] = {}

        def ward(backend: str = "") -> Ward:
            kind = {"ltrace": "ltrace", "C library probes": "cgo"}.get(backend, "")
            if kind not in known:
                folder = tmp_path_factory.mktemp("harm")
                sick = (
                    patients.single_threaded(folder)
                    if kind == "ltrace"
                    else patients.patient(folder, "healthy", "-rate=200", cgo=kind == "cgo")
                )
                patient = stack.enter_context(sick)
                known[kind] = harm.Ward(patient, folder)
                for other in known.values():
                    other.knows(patient.pid)
            return known[kind]

        yield ward


def quick(price: str) -> list[Moment]:
    """One for a backend, all pairs of victim and signal in turn; more where a mistake would stop the service."""
    if price != "stops":
        return [replace(next(DICE), attached=True)]
    return [
        Moment(0.1, "agent", signal.SIGSTOP),
        Moment(0.2, "helper", signal.SIGSTOP, signal.SIGKILL),
    ]


def words(source: str, backend: str) -> dict[str, str]:
    """The options of a start."""
    return {**OPTIONS.get(source, {}), "backend": backend}


def starts(ward: Ward, view: str, source: str, backend: str) -> None:
    """A run that nobody disturbs; what was left would be in its way."""
    done = ward.whole(ward.command(view, source, words(source, backend), 0.5))
    if done.returncode == EXIT_MISSING:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == EXIT_OK, done.stderr


def test_what_harm_would_be_seen(tmp_path: Path) -> None:
    """A service that stands, and a breakpoint in its code."""
    with family.adopting(), patients.patient(tmp_path) as sick:
        ward = harm.Ward(sick, tmp_path)
        nobody = family.Tree(cast("Popen[bytes]", sick.running.process))
        wait_until(lambda: ward.left(nobody) == [])  # what others have let go of, the kernel frees a little later
        os.kill(sick.pid, signal.SIGSTOP)
        wait_until(lambda: any("is T" in line for line in ward.left(nobody)))
        start = next(line for line in Path(f"/proc/{sick.pid}/maps").read_text().splitlines() if " r-xp " in line)
        with open(f"/proc/{sick.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(int(start.partition("-")[0], 16) + 4096)
            was = memory.read(1)
            memory.seek(-1, os.SEEK_CUR)
            memory.write(b"\xcc" if was != b"\xcc" else b"\x90")
            assert any("1 bytes of" in line for line in ward.left(nobody))
            memory.seek(-1, os.SEEK_CUR)
            memory.write(was)
        os.kill(sick.pid, signal.SIGCONT)
        wait_until(lambda: ward.left(nobody) == [])


@FIRST
def test_nothing_is_left(wards: Callable[[str], Ward], view: str, source: str, backend: str) -> None:
    ward = wards(backend)
    price = cast("Source", catalog.source(source)).price
    for moment in quick(price):
        ward.strike(ward.command(view, source, words(source, backend), LONG), moment, backend)
    if price == "stops":
        starts(ward, view, source, backend)


def test_a_start_takes_away_what_dead_ones_of_ours_left_and_nothing_else(wards: Callable[[str], Ward]) -> None:
    ward = wards("")
    own, start = tracefs.own_name(), Proc().stat(os.getpid()).start_ticks
    namespace = own.rpartition("-")[2]
    dead = f"gotriage-{os.getpid()}-{start + 1}-{namespace}-syscalls"  # the number was given anew since
    others = (f"{own}-x", f"foreign-{os.getpid()}", f"gotriage-{os.getpid()}-{start + 1}-1-elsewhere", "gotriage-notes")
    with tracefs.Tracefs() as opened:
        try:
            for name in (dead, *others):
                os.mkdir(f"instances/{name}", dir_fd=opened.fd)
            ward.whole(ward.command("http", "http", {}, 0.2))
            assert {dead, *others} & set(opened.names("instances")) == set(others)
        finally:
            for name in (dead, *others):
                with suppress(FileNotFoundError):
                    os.rmdir(f"instances/{name}", dir_fd=opened.fd)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@ALL
def test_nothing_is_left_at_many_moments(wards: Callable[[str], Ward], view: str, source: str, backend: str) -> None:
    ward = wards(backend)
    starts(ward, view, source, backend)
    for moment in itertools.islice(harm.moments(f"{source} {backend}"), MANY):
        ward.strike(ward.command(view, source, words(source, backend), LONG), moment, backend)
    starts(ward, view, source, backend)
