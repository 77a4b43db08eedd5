"""What the service manager or the container engine knows of the target."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from gotriage.records.base import Record


class UnitState(Record, frozen=True, kw_only=True, tag="unit"):
    """A systemd unit, by the names of org.freedesktop.systemd1(5) in snake_case.

    `limits` holds the Limit*, Tasks*, Memory*, CPUQuota* properties that are set, by systemd's own property name;
    infinity is None there. `exec_main_code` is a CLD_* value of waitid(2): 1 exited, 2 killed, 3 dumped.
    """

    keep: ClassVar[int] = 600

    name: str
    description: str = ""
    load_state: str = ""
    active_state: str = ""
    sub_state: str = ""
    unit_file_state: str = ""
    type: str = ""
    result: str = ""
    status_text: str = ""
    main_pid: int | None = None
    control_group: str = ""
    n_restarts: int | None = None
    restart: str = ""
    restart_seconds: float | None = None
    exec_main_code: int | None = None
    exec_main_status: int | None = None
    exec_main_start: datetime | None = None
    exec_main_exit: datetime | None = None
    active_enter: datetime | None = None
    inactive_enter: datetime | None = None
    state_change: datetime | None = None
    condition_result: bool | None = None
    need_daemon_reload: bool | None = None
    fragment_path: str = ""
    drop_in_paths: tuple[str, ...] = ()
    exec_start: str = ""
    triggered_by: tuple[str, ...] = ()
    user: str = ""
    working_directory: str = ""
    standard_output: str = ""
    standard_error: str = ""
    log_namespace: str = ""
    log_rate_limit_interval: float | None = None
    log_rate_limit_burst: int | None = None
    invocation_id: str = ""
    watchdog_seconds: float | None = None
    start_limit_burst: int | None = None
    start_limit_interval: float | None = None
    limits: dict[str, int | None] = {}
    user_manager: bool = False


class ContainerState(Record, frozen=True, kw_only=True, tag="container"):
    """A container as its engine reports it; from the cgroup and state files alone when the engine is dead.

    `source` says which: "api", "files" or "cgroup". Limits: bytes, CPU in cores; None is unlimited or not known.
    """

    keep: ClassVar[int] = 600

    engine: str
    id: str
    name: str = ""
    image: str = ""
    source: str = ""
    status: str = ""
    pid: int | None = None
    exit_code: int | None = None
    oom_killed: bool | None = None
    error: str = ""
    restart_count: int | None = None
    restart_policy: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    log_driver: str = ""
    log_path: str = ""
    network_mode: str = ""
    memory_limit_bytes: int | None = None
    cpu_quota: float | None = None
    pids_limit: int | None = None
    labels: dict[str, str] = {}
    health: str = ""
