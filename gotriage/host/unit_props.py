"""Properties of a systemd unit as a `UnitState`, the same from D-Bus values and from the text of `systemctl show`.

Names and types: org.freedesktop.systemd1(5). Times there are microseconds since the epoch, spans are microseconds, and
the largest 64-bit number is infinity; `systemctl show` writes them as text (systemd.time(7)).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gotriage.host import clock
from gotriage.records.base import Why
from gotriage.records.secrets import mask_argv, mask_line, mask_text
from gotriage.records.service import UnitState
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gotriage.host.systemd import Variant

INFINITY: Final = (1 << 64) - 1
MAX_ITEMS: Final = 200
"""Longest list kept (drop-ins, triggers)."""

_RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NOFILE", "AS", "NPROC", "MEMLOCK", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
LIMITS: Final = (
    *(f"Limit{name}{kind}" for name in _RLIMITS for kind in ("", "Soft")),
    "TasksMax",
    "MemoryHigh",
    "MemoryMax",
    "MemorySwapMax",
    "MemoryLimit",
    "CPUQuotaPerSecUSec",
)
"""Limit* in the unit of setrlimit(2), Memory* in bytes, CPUQuotaPerSecUSec in microseconds of CPU time per second."""

FIELDS: Final[dict[str, tuple[str, str]]] = {
    "Id": ("name", "text"),
    "Description": ("description", "text"),
    "LoadState": ("load_state", "text"),
    "ActiveState": ("active_state", "text"),
    "SubState": ("sub_state", "text"),
    "UnitFileState": ("unit_file_state", "text"),
    "Type": ("type", "text"),
    "Result": ("result", "text"),
    "StatusText": ("status_text", "text"),
    "MainPID": ("main_pid", "int"),
    "ControlGroup": ("control_group", "text"),
    "NRestarts": ("n_restarts", "int"),
    "Restart": ("restart", "text"),
    "RestartUSec": ("restart_seconds", "span"),
    "ExecMainCode": ("exec_main_code", "int"),
    "ExecMainStatus": ("exec_main_status", "int"),
    "ExecMainStartTimestamp": ("exec_main_start", "time"),
    "ExecMainExitTimestamp": ("exec_main_exit", "time"),
    "ActiveEnterTimestamp": ("active_enter", "time"),
    "InactiveEnterTimestamp": ("inactive_enter", "time"),
    "StateChangeTimestamp": ("state_change", "time"),
    "ConditionResult": ("condition_result", "bool"),
    "NeedDaemonReload": ("need_daemon_reload", "bool"),
    "FragmentPath": ("fragment_path", "text"),
    "DropInPaths": ("drop_in_paths", "list"),
    "ExecStart": ("exec_start", "exec"),
    "TriggeredBy": ("triggered_by", "list"),
    "User": ("user", "text"),
    "WorkingDirectory": ("working_directory", "text"),
    "StandardOutput": ("standard_output", "text"),
    "StandardError": ("standard_error", "text"),
    "LogNamespace": ("log_namespace", "text"),
    "LogRateLimitIntervalUSec": ("log_rate_limit_interval", "span"),
    "LogRateLimitBurst": ("log_rate_limit_burst", "int"),
    "InvocationID": ("invocation_id", "id"),
    "WatchdogUSec": ("watchdog_seconds", "span"),
    "StartLimitBurst": ("start_limit_burst", "int"),
    "StartLimitIntervalUSec": ("start_limit_interval", "span"),
}
"""Property to record field and kind of value."""

_CHECKED: Final = "ConditionTimestampMonotonic"
"""0 while systemd has not looked at the unit's conditions: ConditionResult says nothing then."""

WANTED: Final = (*FIELDS, *LIMITS, _CHECKED)


def from_bus(properties: Mapping[str, Variant], *, user: bool, pid: Callable[[int], int | None] = int) -> UnitState:
    """From the variants of GetAll; `pid` translates PIDs into ours."""
    values = {name: _BUS[FIELDS[name][1]](value) for name, (_, value) in properties.items() if name in FIELDS}
    if not properties.get(_CHECKED, ("t", 0))[1]:
        values.pop("ConditionResult", None)
    limits = {name: _number(properties[name][1]) for name in LIMITS if name in properties}
    return _state(values, limits, user=user, pid=pid)


def from_show(text: str, *, user: bool, pid: Callable[[int], int | None] = int) -> UnitState:
    """From the output of `systemctl show` (any --timestamp style in UTC). A name's first line counts."""
    pairs: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            pairs.setdefault(name, value)
    values = {name: _SHOW[FIELDS[name][1]](value) for name, value in pairs.items() if name in FIELDS}
    if pairs.get(_CHECKED, "0") == "0":
        values.pop("ConditionResult", None)
    limits = {name: _shown_limit(name, pairs[name]) for name in LIMITS if name in pairs}
    return _state(values, limits, user=user, pid=pid)


def _state(
    values: Mapping[str, Any], limits: dict[str, int | None], *, user: bool, pid: Callable[[int], int | None]
) -> UnitState:
    fields = {FIELDS[name][0]: value for name, value in values.items() if value is not None}
    unknown = {}
    main = fields.pop("main_pid", None)
    if main:
        fields["main_pid"] = pid(main)
        if fields["main_pid"] is None:
            unknown["main_pid"] = Why(f"systemd's PID {main} is not seen from here")
    elif main == 0:
        unknown["main_pid"] = Why("the unit has no main process")
    fields.setdefault("name", "")
    return UnitState(at=clock.now(), unknown=unknown, limits=limits, user_manager=user, **fields)


def again(state: UnitState) -> UnitState:
    """The same facts, seen again now."""
    return msgspec.structs.replace(state, at=clock.now())


# -- values from D-Bus


def _number(value: object) -> int | None:
    """A number; infinity, and what is none, is None."""
    return value if isinstance(value, int) and 0 <= value < INFINITY else None


def _signed(value: object) -> int | None:
    return value if isinstance(value, int) and value != INFINITY else None


def _span(value: object) -> float | None:
    number = _number(value)
    return None if number is None else number / 1e6


def _time(value: object) -> datetime | None:
    number = _number(value)
    return clock.from_epoch(number / 1e6) if number else None


def _words(value: object) -> tuple[str, ...]:
    return tuple(clean(str(item)) for item in value[:MAX_ITEMS]) if isinstance(value, (list, tuple)) else ()


def _exec(value: object) -> str:
    """The first command line of a(sasbttttuii)."""
    if not isinstance(value, list) or not value:
        return ""
    return clean(" ".join(mask_argv(list(map(str, value[0][1])))))


_BUS: Final[dict[str, Callable[[Any], object]]] = {
    "text": lambda value: clean(mask_text(str(value))),
    "int": _signed,
    "bool": bool,
    "span": _span,
    "time": _time,
    "list": _words,
    "exec": _exec,
    "id": lambda value: bytes(value).hex() if value else "",
}


# -- values from the text of systemctl show

_UNITS: Final = {
    "y": 31_557_600_000_000, "month": 2_629_800_000_000, "w": 604_800_000_000, "d": 86_400_000_000,
    "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1, "μs": 1,
}  # fmt: skip
"""Microseconds, by the units that format_timespan() of systemd writes."""
_PART = re.compile(r"(?<!\d)(\d{1,20})(?:\.(\d{1,9}))?\s{0,4}(month|min|ms|us|μs|[ywdhs])(?![a-z])")


def parse_span(text: str) -> int | None:
    """A time span as systemd writes it ("1min 30s", "2.5s", "0", "infinity") in microseconds; None is infinity."""
    if text.isdigit():
        return int(text)
    total, found = 0, False
    for whole, fraction, unit in _PART.findall(text):
        found = True
        total += int(whole) * _UNITS[unit]
        if fraction:
            total += int(fraction) * _UNITS[unit] // 10 ** len(fraction)
    return total if found else None


_TIME = re.compile(r"(?:[A-Z][a-z]{2} )?(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))? UTC$")


def parse_time(text: str) -> datetime | None:
    """A time as `systemctl show` writes it with TZ=UTC, with or without fractions, or as @SECONDS; None when never."""
    if text.startswith("@") and text[1:].isdigit():
        return clock.from_epoch(int(text[1:]))
    match = _TIME.match(text)
    if not match:
        return None
    day, hour, fraction = match.groups()
    micro = int((fraction or "0").ljust(6, "0"))
    return datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=UTC, microsecond=micro)


def _shown_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d{1,20}", text) and int(text) != INFINITY else None


def _shown_limit(name: str, text: str) -> int | None:
    return parse_span(text) if name.endswith("USec") else _shown_number(text)


def _shown_span(text: str) -> float | None:
    micros = parse_span(text)
    return None if micros is None else micros / 1e6


def _shown_exec(text: str) -> str:
    match = re.search(r"argv\[\]=(.*?) ; (?:ignore_errors|flags)=", text)
    return clean(mask_line(match[1])) if match else ""


_SHOW: Final[dict[str, Callable[[str], object]]] = {
    "text": lambda text: clean(mask_text(text)),
    "int": _shown_number,
    "bool": lambda text: text == "yes",
    "span": _shown_span,
    "time": parse_time,
    "list": lambda text: tuple(clean(word) for word in text.split()[:MAX_ITEMS]),
    "exec": _shown_exec,
    "id": clean,
}
