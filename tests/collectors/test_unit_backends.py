"""The unit's and the container's collectors where nothing can be asked, and with systemctl's odd moods."""

from __future__ import annotations

from pathlib import Path

import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.container import ContainerCollector
from gotriage.collectors.unit import UnitCollector
from gotriage.collectors.unit_show import UnitShowCollector
from gotriage.host import Host, tools
from gotriage.host.proc import Proc
from gotriage.records.service import ContainerState
from gotriage.records.stream import Gap
from gotriage.target.model import ContainerRef

from tests.collectors.fakes import stat_line, target_of, write

SHOWN = (Path(__file__).parents[1] / "fixtures/systemctl/252/web.txt").read_bytes()
ID = "ab" * 32


@pytest.fixture
def host(tmp_path):
    write(tmp_path, {"view/run/systemd/system/x": "", "proc/1/stat": stat_line(1)})
    return Host(proc=Proc(tmp_path / "proc"), sys=tmp_path / "sys", view=tmp_path / "view")


def unit_target(host, **more):
    return target_of(host, unit="web.service", **more)


@pytest.mark.parametrize("collector", [UnitCollector, UnitShowCollector])
def test_a_target_without_a_unit_and_a_machine_without_systemd(host, collector, tmp_path):
    with pytest.raises(Unavailable, match="belongs to no systemd unit"):
        collector(host, target_of(host))
    host.view = tmp_path / "elsewhere"
    with pytest.raises(Unavailable, match="systemd does not run here"):
        collector(host, unit_target(host))


def test_without_a_bus_the_next_backend_is_taken(host):
    collector = UnitCollector(host, unit_target(host))
    with pytest.raises(Unavailable, match="system_bus_socket: No such file"):
        list(collector.collect())
    collector.close()


def test_systemctl_is_not_asked_about_another_systemd(host):
    host.root_pid = 5
    with pytest.raises(Unavailable, match="--root-pid"):
        UnitShowCollector(host, unit_target(host))


@pytest.fixture
def systemctl(monkeypatch):
    """`systemctl(result, ...)`: what it says, call by call; the calls' words."""
    calls = []

    def say(*results):
        left = list(results)

        def run(words, **_):
            calls.append(words)
            return left.pop(0)

        monkeypatch.setattr(tools, "run", run)
        monkeypatch.setattr(tools, "find", lambda name: f"/usr/bin/{name}")
        return calls

    return say


def test_what_systemctl_shows(host, systemctl):
    calls = systemctl(tools.Result(0, SHOWN, ""))
    (state,) = UnitShowCollector(host, unit_target(host)).collect()
    assert (state.name, state.main_pid) == ("web.service", 416)
    assert calls[0][:3] == ["systemctl", "show", "--timestamp=us+utc"]
    assert calls[0][-2:] == ["--", "web.service"]


def test_an_older_systemctl_without_the_time_style(host, systemctl):
    refusal = tools.Result(1, b"", "systemctl: unrecognized option '--timestamp=us+utc'\n")
    calls = systemctl(refusal, tools.Result(0, SHOWN, ""), tools.Result(0, SHOWN, ""))
    collector = UnitShowCollector(host, unit_target(host))
    assert len([*collector.collect(), *collector.collect()]) == 2
    assert ["--timestamp=us+utc" in words for words in calls] == [True, False, False]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (tools.Result(-9, b"", "", timed_out=True), "does not answer within 3 s"),
        (tools.Result(1, b"", "Failed to connect to bus: \x1b[31mno\n"), "␛"),
        (tools.Result(0, b"", ""), "status 0"),
        (tools.Result(4, b"LoadState=x", ""), "status 4"),
    ],
)
def test_what_systemctl_does_not_show(host, systemctl, result, words):
    systemctl(result)
    with pytest.raises(Unavailable, match=words):
        list(UnitShowCollector(host, unit_target(host)).collect())


def test_a_users_unit_is_asked_of_the_users_manager(host, systemctl):
    calls = systemctl(tools.Result(0, SHOWN, ""))
    (state,) = UnitShowCollector(host, unit_target(host, user_uid=65534)).collect()
    assert state.user_manager
    assert "--user" in calls[0]
    assert any(word.startswith("--machine=") and word.endswith("@.host") for word in calls[0])


def test_a_target_in_no_container(host):
    with pytest.raises(Unavailable, match="in no container"):
        ContainerCollector(host, target_of(host))


def test_a_container_known_by_its_cgroup_alone(host):
    group = f"/system.slice/docker-{ID}.scope"
    write(
        Path(host.proc.root),
        {"7/stat": stat_line(7), "7/cgroup": f"0::{group}\n", "7/status": "NSpid:\t7 1\n", "self/mountinfo": ""},
    )
    target = target_of(host, 7, container=ContainerRef("docker", ID))
    collector = ContainerCollector(host, target)
    (state,) = collector.collect()
    assert isinstance(state, ContainerState)
    assert (state.source, state.pid, state.status, collector.backend) == ("cgroup", 7, "running", "cgroup")


def test_a_container_of_which_nothing_is_left_is_a_gap(host):
    records = list(ContainerCollector(host, target_of(host, container=ContainerRef("docker", ID))).collect())
    assert [type(record) for record in records] == [Gap]
    assert "is gone" in records[0].reason
