"""What the service manager or the container engine knows of the target."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

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


class ContainerMount(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a container has mounted besides its image and what every container has.

    `kind` is the engine's word: bind, volume, tmpfs ...; `name` that of a volume; `source` a path of the host.
    """

    destination: str
    kind: str = ""
    source: str = ""
    name: str = ""
    read_only: bool = False
    options: str = ""


class Pod(msgspec.Struct, frozen=True, omit_defaults=True):
    """The pod that a container belongs to, as far as it is known; `container` is the name in the pod's specification.

    `qos` is the class by which the kubelet chose the cgroup: guaranteed, burstable, besteffort. `told_by`: labels,
    log files, cgroup, target's files.
    """

    namespace: str = ""
    name: str = ""
    container: str = ""
    uid: str = ""
    qos: str = ""
    told_by: str = ""


class ContainerState(Record, frozen=True, kw_only=True, tag="container"):
    """A container as its engine reports it; from the cgroup and state files alone when the engine is dead.

    `source` says which: "api", "files" or "cgroup". Limits: bytes, CPU in cores; None is unlimited or not known.
    `command` is what was started, secrets masked; `health_test` the check's command, `health_failing` how often it
    failed in a row, `health_output` what it said last. `limits` are rlimits and other limits, by the engine's words.
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
    image_id: str = ""
    created_at: datetime | None = None
    command: tuple[str, ...] = ()
    working_directory: str = ""
    user: str = ""
    runtime: str = ""
    mounts: tuple[ContainerMount, ...] = ()
    ports: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    health_test: str = ""
    health_failing: int | None = None
    health_output: str = ""
    log_options: dict[str, str] = {}
    limits: dict[str, str] = {}
    read_only_root: bool | None = None
    privileged: bool | None = None
    capabilities: tuple[str, ...] = ()
    """Those of the bounding set by name where the specification tells them; else +NAME and -NAME to the defaults."""
    security_options: tuple[str, ...] = ()
    shared_namespaces: tuple[str, ...] = ()
    """Which namespaces are another's: "pid host", "network container:ID"."""
    id_map: str = ""
    """The first line of its user namespace's uid map, "" where it has none of its own."""
    pod: Pod | None = None
