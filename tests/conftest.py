"""Fixtures every room's tests may use: services, a systemd, docker and podman. How to: tests/lab/README.md."""

from __future__ import annotations

import itertools
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import engines, systemd, toolchain
from tests.lab.process import Running, Start, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from tests.lab.engines import Engine
    from tests.lab.systemd import Lab

_counter = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also the tests marked slow")


_pid = os.getpid()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """End the run as Ctrl-C does; a child that a test forked ends as if nothing were set."""
    if os.getpid() == _pid:
        raise KeyboardInterrupt
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def pytest_configure(config: pytest.Config) -> None:
    """Our own use of what Python or a library will drop is an error; that of other packages is theirs.

    A run that is told to end clears up, as after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    config.addinivalue_line("filterwarnings", "error::DeprecationWarning:gotriage")
    config.addinivalue_line("filterwarnings", "error::PendingDeprecationWarning:gotriage")


REAL_TIMEOUT = 300.0
"""Seconds for a test with real parts: on a busy machine the first build by a toolchain takes minutes."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """What two workers share out."""
    from tests.workers import OneKernel

    return OneKernel(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --full the slow ones are left out, and counted as deselected, not as skipped."""
    for item in items:
        if item.get_closest_marker("real") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(REAL_TIMEOUT))
    if config.getoption("--full"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """`build("svc", go="1.21.13", flags=[...])`: the binary of a service (tests.lab.toolchain.build)."""
    return toolchain.build


@pytest.fixture(scope="module")
def module_service() -> Iterator[Callable[..., Running]]:
    """`service`, for a whole module."""
    with ExitStack() as stack:
        yield _starter(stack)


@pytest.fixture
def service() -> Iterator[Callable[..., Running]]:
    """`service("svc", "-leak-fds=20")`: a started service on this machine, ended after the test.

    Keywords: go, cgo, flags as of `build`; env, cwd, uid, ready, wrapper as of tests.lab.process.Start.
    """
    with ExitStack() as stack:
        yield _starter(stack)


def _starter(stack: ExitStack) -> Callable[..., Running]:
    def start(name: str, *arguments: str, **more: Any) -> Running:
        making = {key: more.pop(key) for key in ("go", "cgo", "flags") if key in more}
        return stack.enter_context(started(Start(toolchain.build(name, **making), arguments, **more)))

    return start


@pytest.fixture(scope="session")
def sdlab() -> Iterator[Lab]:
    """A real systemd with journald, D-Bus and logind in namespaces of its own, one for the whole run."""
    systemd.sweep()
    lab = systemd.up(f"{systemd.PYTEST}{os.getpid()}")
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def lab_svc(sdlab: Lab) -> str:
    """The path of `svc` inside the lab."""
    return sdlab.install(toolchain.build("svc"))


@pytest.fixture
def unit(sdlab: Lab, lab_svc: str) -> Iterator[Callable[..., str]]:
    """`unit("-tick=1s", "Type=notify")`: a unit of the lab that runs svc with these arguments; its name.

    More lines go into [Service], or begin with a section's header. Keywords: name, command (another ExecStart=),
    start, wait.
    """
    with ExitStack() as stack:

        def add(
            arguments: str = "", *lines: str, name: str = "", command: str = "", start: bool = True, wait: bool = True
        ) -> str:
            name = name or f"test-{next(_counter)}.service"
            text = "\n".join(["[Service]", f"ExecStart={command or f'{lab_svc} {arguments}'}", *lines, ""])
            return stack.enter_context(sdlab.unit(name, text, start=start, wait=wait))

        yield add


@pytest.fixture(scope="session")
def docker_engine(sdlab: Lab) -> Engine:
    """docker in the lab, for the whole run; use `docker`, which cleans up."""
    return engines.start_docker(sdlab)


@pytest.fixture(scope="session")
def podman_engine(sdlab: Lab) -> Engine:
    """podman in the lab, for the whole run; use `podman`, which cleans up."""
    return engines.start_podman(sdlab)


@pytest.fixture
def docker(docker_engine: Engine) -> Iterator[Engine]:
    """docker in the lab; containers started by `docker.run` are removed after the test."""
    yield docker_engine
    docker_engine.clear()


@pytest.fixture
def podman(podman_engine: Engine) -> Iterator[Engine]:
    """podman in the lab; containers started by `podman.run` are removed after the test."""
    yield podman_engine
    podman_engine.clear()


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    found: Engine = request.getfixturevalue(request.param)
    return found
