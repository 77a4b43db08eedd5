"""Unit properties from D-Bus values and from recorded output of `systemctl show`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from gotriage.host.unit_props import INFINITY, again, from_bus, from_show, parse_span, parse_time

FIXTURES = Path(__file__).parents[1] / "fixtures" / "systemctl" / "252"


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("100ms", 100_000),
        ("1min 30s", 90_000_000),
        ("1min 2.500000s", 62_500_000),
        ("1w 2d 3h", 788_400_000_000),
        ("1month 1y", 34_187_400_000_000),
        ("5us", 5),
        ("infinity", None),
        ("", None),
    ],
)
def test_spans(text, micros):
    assert parse_span(text) == micros


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Mon 2026-11-23 22:28:04.176195 UTC", datetime(2026, 11, 23, 22, 28, 4, 176195, UTC)),
        ("Mon 2026-11-23 22:28:04 UTC", datetime(2026, 11, 23, 22, 28, 4, 0, UTC)),
        ("@1795472884", datetime(2026, 11, 23, 22, 28, 4, 0, UTC)),
        ("n/a", None),
        ("", None),
        ("Mon 2026-11-23 22:28:04 CET", None),
    ],
)
def test_times(text, time):
    assert parse_time(text) == time


def test_a_running_unit_as_systemctl_shows_it():
    state = from_show((FIXTURES / "web.txt").read_text(), user=False)
    assert (state.name, state.description, state.type) == ("web.service", "Web shop", "notify")
    assert (state.active_state, state.sub_state, state.result) == ("active", "running", "success")
    assert (state.main_pid, state.status_text) == (416, "serving on")
    assert state.exec_main_start == datetime(2026, 11, 23, 22, 28, 4, 176195, UTC)
    assert state.exec_main_exit is None
    assert state.exec_start == "/usr/local/bin/svc -tick 1s"
    assert (state.restart_seconds, state.watchdog_seconds) == (62.5, 180.0)
    assert (state.start_limit_burst, state.start_limit_interval) == (3, 60.0)
    assert (state.limits["LimitNOFILESoft"], state.limits["LimitNOFILE"]) == (64, 128)
    assert (state.limits["MemoryMax"], state.limits["MemoryHigh"]) == (64 << 20, None)
    assert state.limits["CPUQuotaPerSecUSec"] == 500_000
    assert state.condition_result is True
    assert len(state.invocation_id) == 32
    assert state.user_manager is False


def test_times_of_an_older_systemctl_have_whole_seconds():
    plain = from_show((FIXTURES / "web-plain-times.txt").read_text(), user=False)
    exact = from_show((FIXTURES / "web.txt").read_text(), user=False)
    assert plain.exec_main_start == exact.exec_main_start.replace(microsecond=0)


def test_a_unit_whose_binary_is_missing():
    state = from_show((FIXTURES / "nobin.txt").read_text(), user=True)
    assert (state.active_state, state.result) == ("failed", "exit-code")
    assert (state.exec_main_code, state.exec_main_status) == (1, 203)
    assert state.main_pid is None
    assert state.unknown["main_pid"].reason == "the unit has no main process"
    assert state.exec_start == "/no/such/binary --with args"
    assert state.user_manager is True


def test_values_from_the_bus():
    found = {
        "Id": ("s", "x.service"),
        "MainPID": ("u", 7),
        "RestartUSec": ("t", 100_000),
        "WatchdogUSec": ("t", INFINITY),
        "ActiveEnterTimestamp": ("t", 1_795_472_884_000_001),
        "InactiveEnterTimestamp": ("t", 0),
        "DropInPaths": ("as", ["/a", "/b"]),
        "ExecStart": ("a(sasbttttuii)", [("/x", ["/x", "-a", "b c"], False, 0, 0, 0, 0, 0, 0, 0)]),
        "InvocationID": ("ay", [1, 255]),
        "ConditionResult": ("b", False),
        "ConditionTimestampMonotonic": ("t", 0),
        "LimitNOFILE": ("t", INFINITY),
        "TasksMax": ("t", 12),
        "StatusText": ("s", "\x1b[31mup\nMainPID=1"),
        "Unheard": ("v", object()),
    }
    state = from_bus(found, user=False, pid=lambda pid: pid + 1000)
    assert (state.name, state.main_pid, state.restart_seconds, state.watchdog_seconds) == ("x.service", 1007, 0.1, None)
    assert state.active_enter == datetime(2026, 11, 23, 22, 28, 4, 1, UTC)
    assert state.inactive_enter is None
    assert state.drop_in_paths == ("/a", "/b")
    assert (state.exec_start, state.invocation_id) == ("/x -a b c", "01ff")
    assert state.condition_result is None  # systemd has not looked yet
    assert state.limits == {"LimitNOFILE": None, "TasksMax": 12}
    assert state.status_text == "␛[31mup␊MainPID=1"


def test_secrets_of_the_command_line_do_not_come_along():
    argv = [
        "/bin/app",
        "-secret",
        "hunter2 with words",
        "--token=hunter2",
        "-dsn",
        "postgres://a:hunter2@db/x",
        "serve",
    ]
    state = from_bus(
        {
            "Id": ("s", "x.service"),
            "ExecStart": ("a(sasbttttuii)", [("/bin/app", argv, False, 0, 0, 0, 0, 0, 0, 0)]),
            "StatusText": ("s", "connected with password=hunter2"),
        },
        user=False,
    )
    assert state.exec_start == "/bin/app -secret *** --token=*** -dsn postgres://a:***@db/x serve"
    assert state.status_text == "connected with password=***"
    line = f"ExecStart={{ path=/bin/app ; argv[]={' '.join(argv)} ; ignore_errors=no ; start_time=[n/a] }}"
    shown = from_show(f"Id=x.service\n{line}\nStatusText=token=hunter2\n", user=False)
    assert shown.exec_start == "/bin/app -secret *** --token=*** -dsn postgres://a:***@db/x serve"
    assert shown.status_text == "token=***"


def test_a_pid_that_is_not_seen_from_here_is_no_number():
    state = from_bus({"Id": ("s", "x"), "MainPID": ("u", 7)}, user=False, pid=lambda _: None)
    assert state.main_pid is None
    assert "7 is not seen from here" in state.unknown["main_pid"].reason


def test_a_first_line_counts_and_rubbish_does_not_matter():
    state = from_show("MainPID=5\nMainPID=1\nno equals\n=x\nRestartUSec=soon\nNRestarts=many\n", user=False)
    assert (state.name, state.main_pid, state.restart_seconds, state.n_restarts) == ("", 5, None, None)


def test_seen_again_is_the_same_but_for_the_time():
    state = from_show((FIXTURES / "web.txt").read_text(), user=False)
    assert again(state).at >= state.at
    assert again(state).limits == state.limits
