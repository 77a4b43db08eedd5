"""Units of a real systemd, as seen from inside and, with --root-pid, from outside."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from gotriage.host import Host
from gotriage.records.target import TargetSpec
from gotriage.target.resolve import refresh, release, resolve
from gotriage.target.state import state_of

from tests.lab.process import wait_until
from tests.lab.toolchain import build
from tests.real.look import inside, look

GOTRIAGE = str(Path(sys.executable).parent / "gotriage")

pytestmark = pytest.mark.real

LONGEST = 4.0
"""Seconds that resolving may take whatever hangs: its own limit is 2.8."""


def both(lab, value, **more):
    """The unit as resolved from outside; what is seen inside is the same but for PIDs and cgroup paths."""
    out = look("unit", value, root_pid=lab.pid, **more)
    within = inside(lab, "unit", value, **more)
    for key in ("name", "state", "unit", "reason", "error", "type", "exit_code", "exec_path", "comm"):
        assert out.get(key) == within.get(key), key
    if out.get("cgroup"):
        assert out["cgroup"] == f"/sdlab-{lab.name}{within['cgroup']}"
    assert len(out.get("pids", ())) == len(within.get("pids", ()))
    return out


def follow(lab, unit):
    return resolve(TargetSpec("unit", unit, root_pid=lab.pid), Host.of(lab.pid))


def events_until(target, what, seconds=15.0):
    """Refresh as the agent does until an event of that kind comes; all events so far."""
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        found += refresh(target)
        if any(event.what == what for event in found):
            return found
        time.sleep(0.05)
    raise TimeoutError(f"no {what} in {seconds} s: {found}")


def test_a_notify_unit_by_its_short_name(sdlab, unit):
    name = unit("-tick=1s", "Type=notify", "LimitNOFILE=256")
    seen = both(sdlab, name.removesuffix(".service"))
    assert seen["state"] == "running"
    assert seen["pid"] == sdlab.main_pid(name)
    assert seen["unit"] == seen["name"] == name
    assert seen["cgroup"].endswith(f"/system.slice/{name}")
    assert seen["exec_path"] == "/usr/local/bin/svc"
    assert seen["go"]["version"].startswith("go1.")
    assert seen["go"]["module"]


def test_a_forking_unit_without_a_main_pid_is_known_by_its_cgroup(sdlab, unit):
    name = unit("-daemon=1 -tick=1s", "Type=forking", "GuessMainPID=no")
    assert sdlab.main_pid(name) == 0
    seen = both(sdlab, name)
    assert seen["state"] == "running"
    assert list(seen["pids"]) == [seen["pid"]]


def test_a_unit_of_many_processes_has_them_all_the_main_one_first(sdlab, unit):
    name = unit("-children=3 -tick=1s", "Type=notify")
    wait_until(lambda: len(look("unit", name, root_pid=sdlab.pid)["pids"]) == 4)
    seen = both(sdlab, name)
    assert seen["pids"][0] == sdlab.main_pid(name)


def test_a_template_and_its_only_instance(sdlab, unit):
    template = "test-tmpl@.service"
    sdlab.write(f"/etc/systemd/system/{template}", "[Service]\nExecStart=/usr/local/bin/svc -tick=1s\n")
    try:
        assert "as in --unit test-tmpl@NAME.service" in both(sdlab, "test-tmpl@")["error"]
        sdlab.systemctl("start", "test-tmpl@a.service")
        assert both(sdlab, "test-tmpl@")["name"] == "test-tmpl@a.service"
        assert both(sdlab, "test-tmpl@a")["state"] == "running"
        sdlab.systemctl("start", "test-tmpl@b.service")
        seen = both(sdlab, "test-tmpl@")
        assert seen["type"] == "AmbiguousTarget"
        assert "test-tmpl@a.service" in seen["error"]
        assert "test-tmpl@b.service" in seen["error"]
    finally:
        sdlab.remove_unit(template)


def test_a_socket_leads_to_its_service_also_before_the_first_connection(sdlab, unit):
    name = unit("-tick=1s", name="test-web.service", start=False)
    with sdlab.unit("test-web.socket", "[Socket]\nListenStream=/run/test-web.sock\n"):
        seen = both(sdlab, "test-web.socket")
        assert seen["name"] == name
        assert seen["state"] == "stopped"
        assert "started by test-web.socket" in seen["reason"]
        sdlab.systemctl("start", name)
        seen = both(sdlab, "test-web.socket")
        assert seen["pid"] == sdlab.main_pid(name)
        assert ("note", f"test-web.socket starts {name}: looking at that") in map(tuple, seen["events"])


def test_a_missing_binary_is_down_with_systemds_words(sdlab, unit):
    name = unit(command="/no/such/binary", wait=False)
    sdlab.wait_state(name, "failed")
    seen = both(sdlab, name)
    assert (seen["state"], seen.get("pid")) == ("stopped", None)
    assert "failed: result exit-code; main process exited, status 203/EXEC" in seen["reason"]
    assert seen["exec_path"] == "/no/such/binary"


def test_a_crash_loop_that_systemd_gave_up(sdlab, unit):
    name = unit(
        "-crash-after=20ms -exit-code=3",
        "Restart=always",
        "RestartSec=20ms",
        "[Unit]",
        "StartLimitBurst=3",
        "StartLimitIntervalSec=60",
        wait=False,
    )
    sdlab.wait_state(name, "failed")
    seen = both(sdlab, name)
    assert "status 3" in seen["reason"]
    assert "start request repeated too quickly" in seen["reason"]


def test_a_unit_that_is_not_running_and_one_that_is_masked(sdlab, unit):
    name = unit("-tick=1s", start=False)
    assert both(sdlab, name)["reason"] == "inactive (dead)"
    sdlab.systemctl("mask", "--runtime", "systemd-rfkill.service")
    try:
        assert "masked" in both(sdlab, "systemd-rfkill")["reason"]
    finally:
        sdlab.systemctl("unmask", "--runtime", "systemd-rfkill.service")


def test_an_unknown_unit_gives_near_matches(sdlab, unit):
    unit("-tick=1s", name="orders-api.service")
    seen = both(sdlab, "order-api")
    assert (seen["type"], seen["exit_code"]) == ("NoSuchTarget", 3)
    assert "near: orders-api.service" in seen["error"]


def test_a_restart_is_noticed_and_the_new_main_process_attached(sdlab, unit):
    name = unit("-tick=1s", "Restart=always", "RestartSec=100ms")
    target = follow(sdlab, name)
    try:
        old, generation = target.pid, target.generation
        os.kill(old, signal.SIGKILL)
        events = events_until(target, "restarted")
        assert target.pid == sdlab.main_pid(name) != old
        assert target.generation == generation + 1
        assert target.pids == (target.pid,)
        assert state_of(target).state == "running"
        assert "killed by SIGKILL" in " ".join(event.detail for event in events)
    finally:
        release(target)


def test_a_unit_that_stops_comes_back_and_stops_again(sdlab, unit):
    name = unit("-tick=1s", start=False)
    target = follow(sdlab, name)
    try:
        assert state_of(target).state == "stopped"
        sdlab.systemctl("start", name)
        events_until(target, "started")
        assert (target.pid, target.generation) == (sdlab.main_pid(name), 1)
        sdlab.systemctl("stop", name)
        events_until(target, "exited")
        state = state_of(target)
        assert (state.state, state.pid, state.pids) == ("stopped", None, ())
        assert "inactive (dead)" in state.reason
        sdlab.systemctl("start", name)
        events_until(target, "restarted")
        assert (target.pid, target.generation) == (sdlab.main_pid(name), 2)
    finally:
        release(target)


def test_a_pid_knows_its_unit(sdlab, unit):
    name = unit("-tick=1s")
    pid = sdlab.main_pid(name)
    assert look("pid", str(pid)).get("unit") is None  # this machine's own root is not that systemd's
    inner = sdlab.show(name, "MainPID")["MainPID"]
    seen = look("pid", inner, root_pid=sdlab.pid, collect=("unit",))
    assert (seen["pid"], seen["unit"]) == (pid, name)
    assert seen["unit records"][0]["main_pid"] == pid
    assert inside(sdlab, "pid", inner)["unit"] == name


def test_both_backends_say_the_same(sdlab, unit):
    name = unit(
        "-tick=1s", "Type=notify", "LimitNOFILE=100:200", "CPUQuota=50%", "MemoryMax=64M", "WatchdogSec=3min",
        "LogRateLimitBurst=7", "LogRateLimitIntervalSec=90", "User=nobody", "RestartSec=1min 30s 5ms",
    )  # fmt: skip
    seen = inside(sdlab, "unit", name, collect=("unit", "unit_show"))
    (by_bus,), (by_text,) = seen["unit records"], seen["unit_show records"]
    assert seen["unit backend"] == "D-Bus"
    by_bus.pop("at"), by_text.pop("at")
    assert by_bus == by_text
    assert by_bus["limits"]["LimitNOFILESoft"] == 100
    assert by_bus["limits"]["LimitNOFILE"] == 200
    assert by_bus["limits"]["MemoryMax"] == 64 << 20
    assert by_bus["limits"]["CPUQuotaPerSecUSec"] == 500_000
    assert (by_bus["watchdog_seconds"], by_bus["restart_seconds"]) == (180.0, 90.005)
    assert (by_bus["log_rate_limit_burst"], by_bus["log_rate_limit_interval"]) == (7, 90.0)
    assert by_bus["user"] == "nobody"


def test_both_backends_say_the_same_of_a_failed_unit(sdlab, unit):
    name = unit("-crash-after=20ms -exit-code=3", "Type=simple", wait=False)
    sdlab.wait_state(name, "failed")
    seen = inside(sdlab, "unit", name, collect=("unit", "unit_show"))
    (by_bus,), (by_text,) = seen["unit records"], seen["unit_show records"]
    by_bus.pop("at"), by_text.pop("at")
    assert by_bus == by_text
    assert (by_bus["result"], by_bus["exec_main_code"], by_bus["exec_main_status"]) == ("exit-code", 1, 3)
    assert by_bus["exec_main_exit"] is not None


@pytest.fixture
def user_unit(sdlab, lab_svc):
    """A unit of a user's own manager: uid 65534 lingers."""
    name = "test-user.service"
    sdlab.write(f"/etc/systemd/user/{name}", f"[Service]\nExecStart={lab_svc} -tick=1s\n")
    sdlab.systemctl("start", "user@65534.service")
    who = ("--user", "--machine=nobody@.host")
    sdlab.systemctl(*who, "daemon-reload")
    sdlab.systemctl(*who, "start", name)
    yield name
    sdlab.systemctl(*who, "stop", name, check=False)
    sdlab.systemctl("stop", "user@65534.service", check=False)
    (sdlab.root / f"etc/systemd/user/{name}").unlink()


def test_a_user_unit(sdlab, user_unit):
    seen = both(sdlab, user_unit, user=True)
    assert seen["state"] == "running"
    assert seen["cgroup"].endswith(f"/user@65534.service/app.slice/{user_unit}")
    within = inside(sdlab, "unit", user_unit, user=True, collect=("unit", "unit_show"))
    (by_bus,), (by_text,) = within["unit records"], within["unit_show records"]
    by_bus.pop("at"), by_text.pop("at")
    assert by_bus == by_text
    assert by_bus["user_manager"] is True
    assert "user nobody runs it: add --user" in both(sdlab, user_unit)["error"]
    assert "it is a system unit: leave --user out" in both(sdlab, "systemd-logind", user=True)["error"]


# -- the bus dies or hangs


@pytest.fixture
def bus_pid(sdlab):
    return sdlab.main_pid("dbus.service")


@pytest.fixture
def hung_bus(sdlab, bus_pid):
    """The bus daemon takes connections and never answers."""
    os.kill(bus_pid, signal.SIGSTOP)
    yield
    os.kill(bus_pid, signal.SIGCONT)


def test_with_a_hung_bus_systemd_is_asked_by_its_private_socket(sdlab, unit, request):
    name = unit("-tick=1s")
    request.getfixturevalue("hung_bus")
    seen = inside(sdlab, "unit", name, collect=("unit",))
    assert seen["state"] == "running"
    assert seen["took"] < LONGEST
    assert seen["unit backend"] == "systemd's private socket"
    assert seen["unit records"][0]["active_state"] == "active"


def test_with_a_hung_bus_and_no_other_way_the_cgroup_tells(sdlab, unit, request):
    name = unit("-children=2 -tick=1s", "Type=notify")
    wait_until(lambda: len(look("unit", name, root_pid=sdlab.pid)["pids"]) == 3)
    main = sdlab.main_pid(name)
    request.getfixturevalue("hung_bus")
    seen = look("unit", name, root_pid=sdlab.pid, collect=("unit",))
    assert (seen["pid"], len(seen["pids"])) == (main, 3)
    assert seen["unit unavailable"].startswith("systemd cannot be asked: ")
    assert seen["took"] < LONGEST
    assert seen["unit took"] < LONGEST
    assert "does not answer" in seen["events"][0][1]


def test_what_is_down_or_unknown_while_the_bus_hangs(sdlab, unit, request):
    name = unit("-tick=1s", start=False)
    request.getfixturevalue("hung_bus")
    seen = look("unit", name, root_pid=sdlab.pid)
    assert seen["state"] == "stopped"
    assert "no process in its cgroup; systemd does not answer" in seen["reason"]
    seen = look("unit", "dbu", root_pid=sdlab.pid)
    assert seen["type"] == "NoSuchTarget"
    assert "near: dbus.service" in seen["error"]
    assert seen["took"] < LONGEST


def test_a_restart_is_followed_while_the_bus_hangs(sdlab, unit, request):
    name = unit("-tick=1s", "Restart=always", "RestartSec=100ms")
    target = follow(sdlab, name)
    request.getfixturevalue("hung_bus")
    try:
        old = target.pid
        os.kill(old, signal.SIGKILL)
        events_until(target, "restarted")
        assert target.pid not in (None, old)
        assert target.generation == 2
    finally:
        release(target)


def test_with_the_bus_gone(sdlab, unit):
    name = unit("-tick=1s")
    sdlab.systemctl("stop", "dbus.socket", "dbus.service")
    try:
        assert inside(sdlab, "unit", name)["state"] == "running"
        seen = look("unit", name, root_pid=sdlab.pid)
        assert (seen["state"], seen["pid"]) == ("running", sdlab.main_pid(name))
    finally:
        sdlab.systemctl("start", "dbus.socket", "dbus.service")


def test_no_systemd_here_is_said():
    if os.path.isdir("/run/systemd/system"):
        seen = look("unit", "no-such-unit-here")
        assert seen["type"] == "NoSuchTarget"
    else:
        seen = look("unit", "x")
        assert (seen["type"], seen["exit_code"]) == ("MissingFacility", 69)


def test_the_build_info_is_that_of_the_running_file(sdlab, unit):
    """A binary that is replaced while it runs is still told from what runs."""
    path = sdlab.install(build("svc", go="1.21.13"), "/usr/local/bin/replaced")
    name = unit(command=f"{path} -tick=1s")
    target = follow(sdlab, name)
    try:
        assert state_of(target).go.version == "go1.21.13"
        sdlab.install(build("svc"), "/usr/local/bin/replaced")
        assert refresh(target) == []
        assert state_of(target).go.version == "go1.21.13"
        assert state_of(target).exe.endswith("(deleted)")
    finally:
        release(target)


def test_the_limits_of_the_unit_stand_beside_those_of_its_process(sdlab, unit):
    name = unit("-tick=1s", "LimitNOFILE=256", "TasksMax=50")
    out = sdlab.run(GOTRIAGE, "show", "limits", "--unit", name, "--json").stdout
    rows = {(row["name"], row["scope"]): row for row in map(json.loads, out.splitlines())}
    assert rows["LimitNOFILE", "systemd"]["soft"] == rows["RLIMIT_NOFILE", "rlimit"]["soft"] == 256
    assert rows["LimitNOFILE", "systemd"]["used"] == rows["RLIMIT_NOFILE", "rlimit"]["used"] > 3
    assert rows["TasksMax", "systemd"]["soft"] == 50
    assert rows["TasksMax", "systemd"]["used"] > 1
