"""Security modules: what labels, profiles and filters the target is under, and what they have refused it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from gotriage.records.base import Record, Row


class SecurityRow(Row, frozen=True, kw_only=True):
    """One denial, or one thing with its label.

    Attributes:
        what: denial, process, executable, file or port.
        module: selinux, apparmor, seccomp or landlock.
        name: the path, the port, the system call; of a process its PID.
        operation: what was refused: "open", "name_bind", the system call.
        label: the context or profile of that thing (of a denial that of the object, "" where it has none).
        subject: of a denial, the context or profile of who was refused.
        expected: the context that the policy's file contexts say, "" when not known or not asked.
        kind: the class of a denial's object: file, dir, tcp_socket ...
        count, first_at, last_at: of a denial.
        permissive: the module only said it and let it happen.
        comm, pid: who was refused, last.
        cure: what to type; "" where nothing is wrong.
    """

    what: str
    module: str
    name: str
    operation: str = ""
    label: str = ""
    subject: str = ""
    expected: str = ""
    kind: str = ""
    count: int | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    permissive: bool = False
    comm: str = ""
    pid: int | None = None
    cure: str = ""


class Security(Record, frozen=True, kw_only=True, tag="security"):
    """Which modules are at work, and how the target stands with each; denials are the rows, the newest first.

    Attributes:
        modules: active Linux security modules in their order; None when securityfs may not be read.
        selinux: enforcing, permissive or disabled; None when it cannot be told. `policy` is its name.
        context: the process's SELinux context; `profile` its AppArmor profile, "unconfined" for none, with the mode.
        seccomp: 0 off, 1 strict, 2 filter; `filters`: how many (Linux 5.9 and later).
        looked: where denials were looked for.
    """

    keep: ClassVar[int] = 60

    rows: tuple[SecurityRow, ...] = ()
    modules: tuple[str, ...] | None = None
    selinux: str | None = None
    policy: str = ""
    context: str = ""
    profile: str = ""
    seccomp: int | None = None
    filters: int | None = None
    no_new_privs: bool | None = None
    looked: tuple[str, ...] = ()
