"""OOM kills out of kernel lines of several versions."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime

import pytest
from gotriage.collectors.kernel_log import own_groups, parse_kills
from gotriage.host import Host
from gotriage.host.kmsg import KernelLine, parse_record
from gotriage.records.target import TargetSpec
from gotriage.target.model import ContainerRef, Target

WHEN = datetime(2026, 11, 23, tzinfo=UTC)


def kills(*texts):
    lines = (KernelLine(3, number, WHEN, text) for number, text in enumerate(texts))
    return list(parse_kills(lines, OrderedDict()))


def test_a_cgroup_kill_of_linux_5_and_later():
    (kill,) = kills(
        "svc invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/system.slice/api.service,"
        "task_memcg=/system.slice/api.service/sub,task=svc,pid=4242,uid=1000",
        "Memory cgroup out of memory: Killed process 4242 (svc) total-vm:1259520kB, anon-rss:31000kB, file-rss:1240kB, "
        "shmem-rss:0kB, UID:1000 pgtables:180kB oom_score_adj:0",
    )
    assert (kill.pid, kill.comm, kill.cgroup, kill.constraint) == (
        4242,
        "svc",
        "/system.slice/api.service/sub",
        "CONSTRAINT_MEMCG",
    )
    assert kill.rss_bytes == 32240 * 1024


def test_a_kill_of_linux_4():
    (kill,) = kills(
        "Memory cgroup out of memory: Kill process 77 (svc) score 1982 or sacrifice child",
        "Killed process 77 (svc) total-vm:12kB, anon-rss:8kB, file-rss:0kB, shmem-rss:4kB",
    )
    assert (kill.pid, kill.rss_bytes) == (77, 12 * 1024)


def test_a_kill_of_the_whole_machine():
    (kill,) = kills(
        "Out of memory: Killed process 9 (a b) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0"
    )
    assert (kill.pid, kill.comm, kill.constraint) == (9, "a b", "CONSTRAINT_NONE")


@pytest.mark.parametrize("name", ["a,pid=1,uid=0", "x) (y", "task_memcg=/fake,task=z,pid=5,uid=1"])
def test_a_name_cannot_pass_for_another_process(name):
    (kill,) = kills(
        f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task_memcg=/real,task={name},pid=31,uid=0",
        f"Out of memory: Killed process 31 ({name}) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB",
    )
    assert kill.pid == 31
    assert kill.cgroup == "/real"


def test_other_lines_are_nothing():
    assert kills("", "oom-kill:", "oom_reaper: reaped process 4242 (svc)", "Killed", "systemd[1]: Started x.") == []


def test_a_record_of_the_device():
    line = parse_record(b"4,1234,5000000,-,caller=T1;hello; world\n SUBSYSTEM=x\n", 1_000_000.0)
    assert (line.level, line.sequence, line.text, line.at.timestamp()) == (4, 1234, "hello; world", 1_000_005.0)
    assert parse_record(b"30,7,1,-;user line", 0.0).level == 6
    for broken in (b"", b"x", b"a,b,c;d", b"1,2;short", b"\xff" * 100):
        assert parse_record(broken, 0.0) is None


ID = "ab" * 32
UNIT, SCOPE = "/system.slice/api.service", f"/system.slice/docker-{ID}.scope"


@pytest.mark.parametrize(
    ("known", "memory", "own"),
    [
        ({"unit": "api.service", "cgroup": UNIT}, None, {UNIT}),
        ({"unit": "api.service", "cgroup": UNIT}, UNIT, {UNIT}),
        ({"unit": "api.service"}, UNIT, {UNIT}),
        ({"unit": "api.service", "cgroup": UNIT}, "/system.slice", {UNIT}),
        ({"unit": "api.service", "cgroup": UNIT}, "/user.slice/shell", {UNIT}),
        ({"unit": "api.service", "cgroup": UNIT}, f"/machine/m1{UNIT}", {UNIT, f"/machine/m1{UNIT}"}),
        ({"container": ContainerRef("docker", ID, "web"), "cgroup": SCOPE}, f"/docker/{ID}", {SCOPE, f"/docker/{ID}"}),
        ({"container": ContainerRef("docker", ID, "web"), "cgroup": SCOPE}, "/system.slice", {SCOPE}),
        ({"cgroup": "/user.slice/shell"}, "/user.slice/shell", set()),
        ({"unit": "init.scope", "cgroup": "/"}, "/", set()),
    ],
)
def test_only_a_cgroup_of_its_own_tells_of_its_kills(known, memory, own):
    target = Target(spec=TargetSpec("unit", "x"), host=Host(), cgroup_v1={"memory": memory} if memory else {}, **known)
    assert own_groups(target) == own
