"""Security modules: the target's contexts, profiles and filters, and what it has been refused, with the cure."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from gotriage.errors import AS_ROOT, GotriageError, MissingFacility
from gotriage.host import clock, ownsockets, text_file, tools
from gotriage.host.audit import AuditRecords
from gotriage.host.inroot import InRoot
from gotriage.records.security import Security, SecurityRow
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.audit import Denial
    from gotriage.records import Record
    from gotriage.target.model import Target

MOST_DENIALS: Final = 100
MOST_FILES: Final = 40
COMM: Final = 15
"""Characters of a process's name that the kernel keeps (TASK_COMM_LEN less one)."""
LABEL: Final = "security.selinux"
DOMAIN_PORTS: Final = {"httpd_t": "http_port_t", "named_t": "dns_port_t", "sshd_t": "ssh_port_t",
                       "mysqld_t": "mysqld_port_t", "postgresql_t": "postgresql_port_t"}  # fmt: skip
"""The port types of domains that services are commonly put into (the reference policy)."""
_PORT_LINE = re.compile(r"^(\w+_t)\s+(tcp|udp)\s+(.+)$")


def type_of(context: str) -> str:
    """ "system_u:object_r:sysfs_t:s0" to "sysfs_t"."""
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else context


def cure_of(denial: Denial, expected: str) -> str:
    """What to type against a denial; `expected` is the context that the policy's file contexts have for the path."""
    if denial.module == "seccomp":
        return (
            f"let the call through: SystemCallFilter={denial.name} in the unit,"
            " or --security-opt seccomp=PROFILE.json for the container"
        )
    if denial.module == "landlock":
        return "it has shut itself in (landlock_restrict_self): add the path or port to its own rules"
    if denial.module == "apparmor":
        profile = _word(denial.subject)
        rule = f"{denial.name} {denial.mask or 'r'}," if denial.name.startswith("/") else denial.operation
        return f"add '{rule}' to the profile, then apparmor_parser -r; to see it run without: aa-complain {profile}"
    return _selinux_cure(denial, expected)


def _selinux_cure(denial: Denial, expected: str) -> str:
    domain, target = type_of(denial.subject), type_of(denial.label)
    path = denial.name
    if "name_bind" in denial.operation and denial.port is not None:
        protocol = "udp" if denial.kind.startswith("udp") else "tcp"
        kind = DOMAIN_PORTS.get(domain, f"{domain.removesuffix('_t')}_port_t")
        return f"semanage port -a -t {kind} -p {protocol} {denial.port}"
    if "name_connect" in denial.operation:
        if domain == "httpd_t":
            return "setsebool -P httpd_can_network_connect 1"
        return "the boolean that allows it is named by: ausearch -m avc -ts recent | audit2why"
    if expected and type_of(expected) != target and path.startswith("/"):
        return f"restorecon -v {_word(path)}"
    if (
        domain == "container_t"
        and denial.kind in ("file", "dir", "lnk_file", "sock_file")
        and not target.startswith("container_")
    ):
        where = f": chcon -Rt container_file_t {_word(path)}" if path.startswith("/") else ""
        return f"mount the volume with :z (shared) or :Z (private){where}"
    return "what would allow it: ausearch -m avc -ts recent | audit2why; give the file the type that the domain may use"


def _word(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_./:@%+=,-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def parse_ports(text: str) -> dict[tuple[str, int], str]:
    """`semanage port -l`: (protocol, port) to type; ranges of more than 100 ports are left out."""
    found: dict[tuple[str, int], str] = {}
    for line in text.splitlines()[:5000]:
        match = _PORT_LINE.match(line)
        for part in match[3].split(",") if match else ():
            low, _, high = part.strip().partition("-")
            if match and low.isdigit() and (high or low).isdigit() and int(high or low) - int(low) <= 100:
                for port in range(int(low), int(high or low) + 1):
                    found.setdefault((match[2], port), match[1])
    return found


@dataclass(slots=True)
class _Group:
    """Denials of the same thing."""

    last: Denial
    first: Denial
    count: int


class SecurityCollector:
    """One `Security` a look."""

    backend = "/proc/PID/attr, audit records"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._records = AuditRecords(host)
        self._denials: dict[tuple[str, str, str, str, bool], _Group] = {}
        self._pids: set[int] = set()
        self._expected: dict[str, str] = {}
        self._ports: dict[tuple[str, int], str] | None = None

    def collect(self) -> Iterator[Record]:
        """Look once."""
        at, pid = clock.now(), self._target.pid
        self._pids.update(self._target.pids)
        mode = self._mode()
        selinux = mode in ("enforcing", "permissive")
        modules = self._modules()
        apparmor = self._on("apparmor", "parameters", "enabled")
        self._take(self._records.more(journal=selinux or apparmor))
        status = self._status(pid)
        context, profile = self._labels(pid, selinux=selinux, apparmor=apparmor)
        rows = [self._row(group) for group in self._newest()]
        if selinux and pid is not None:
            rows += self._things(pid, context)
        yield Security(
            at=at,
            rows=tuple(rows),
            modules=modules,
            selinux=mode,
            policy=self._policy() if selinux else "",
            context=context,
            profile=profile,
            seccomp=_number(status, "Seccomp"),
            filters=_number(status, "Seccomp_filters"),
            no_new_privs={"0": False, "1": True}.get(status.get("NoNewPrivs", "")),
            looked=tuple(self._records.looked),
        )
        if self._records.refused:
            yield Gap(
                at=at,
                source="security.denials",
                reason=clean(self._records.refused),
                lost="denials",
                remedy=AS_ROOT,
                permission="ermission denied" in self._records.refused,
            )

    # -- what is in force

    def _mode(self) -> str | None:
        """Of SELinux: its file system is there when it is enabled (selinux(8))."""
        text = text_file.small_text(self._host.sys / "fs/selinux/enforce")
        if text is None:
            return None if (self._host.sys / "fs/selinux").exists() else "disabled"
        return "enforcing" if text == "1" else "permissive"

    def _policy(self) -> str:
        with suppress(OSError), InRoot(str(self._host.view)) as root:
            for line in root.read("/etc/selinux/config", 65536).decode("utf-8", "replace").splitlines():
                name, equals, value = line.partition("=")
                if equals and name.strip() == "SELINUXTYPE":
                    return clean(value.strip(), 64)
        return ""

    def _modules(self) -> tuple[str, ...] | None:
        text = text_file.small_text(self._host.sys / "kernel/security/lsm")
        return tuple(text.split(",")) if text else None

    def _on(self, module: str, *parts: str) -> bool:
        return text_file.small_text(Path(self._host.sys, "module", module, *parts)) == "Y"

    def _status(self, pid: int | None) -> dict[str, str]:
        return self._host.proc.status(pid) if pid is not None else {}

    def _labels(self, pid: int | None, *, selinux: bool, apparmor: bool) -> tuple[str, str]:
        """Context and profile; attr/current is that of the first module which has one (proc_pid_attr(5))."""
        if pid is None:
            return "", ""
        current = self._attribute(pid, "current")
        own = self._attribute(pid, "apparmor", "current")
        profile = (own or (current if not selinux else "")) if apparmor else ""
        return (current if selinux else ""), profile

    def _attribute(self, pid: int, *parts: str) -> str:
        try:
            return clean(self._host.proc.text(pid, "attr", *parts).strip("\0\n "), 300)
        except (GotriageError, OSError):
            return ""

    # -- denials

    def _take(self, denials: list[Denial]) -> None:
        for denial in denials:
            if not self._is_its_own(denial):
                continue
            key = (denial.module, denial.operation, denial.name, denial.label, denial.permissive)
            group = self._denials.get(key)
            if group is None:
                if len(self._denials) < MOST_DENIALS:
                    self._denials[key] = _Group(denial, denial, 1)
            else:
                group.count += 1
                if denial.at >= group.last.at:
                    group.last = denial
                else:
                    group.first = min(group.first, denial, key=lambda one: one.at)

    def _is_its_own(self, denial: Denial) -> bool:
        """Of a process that it has or had while watched, or of a dead one that ran the same program.

        Of a container only the former: other containers have programs of that name.
        """
        if denial.pid in self._pids:
            return True
        program = self._program()
        if not program or self._target.container is not None or self._alive(denial.pid):
            return False
        if denial.exe:
            return denial.exe == program
        # A unit's program is refused to be run under the manager's name: "(orders)".
        return denial.comm.strip("()") == PurePosixPath(program).name[:COMM] or denial.name == program

    def _alive(self, pid: int | None) -> bool:
        try:
            return pid is not None and bool(self._host.proc.stat(pid))
        except (GotriageError, OSError, ValueError):
            return False

    def _program(self) -> str:
        if self._target.exec_path or self._target.pid is None:
            return self._target.exec_path
        try:
            return clean(self._host.proc.link(self._target.pid, "exe").removesuffix(" (deleted)"))
        except (GotriageError, OSError):
            return ""

    def _newest(self) -> list[_Group]:
        return sorted(self._denials.values(), key=lambda group: group.last.at, reverse=True)

    def _row(self, group: _Group) -> SecurityRow:
        one = group.last
        expected = self._expects(one.name) if one.module == "selinux" and one.name.startswith("/") else ""
        return SecurityRow(
            what="denial",
            module=one.module,
            name=one.name,
            operation=one.operation,
            label=one.label,
            subject=one.subject,
            expected=expected,
            kind=one.kind,
            count=group.count,
            first_at=group.first.at,
            last_at=one.at,
            permissive=one.permissive,
            comm=one.comm,
            pid=one.pid,
            cure=cure_of(one, expected),
        )

    # -- labels

    def _expects(self, path: str) -> str:
        """The context of the path by the policy (matchpathcon(8)), "" when it is not told; asked once a path."""
        if path not in self._expected and len(self._expected) < 1000:
            self._expected[path] = ""
            with suppress(MissingFacility, OSError):
                result = tools.run(["matchpathcon", "-n", "--", path], timeout=2.0, limit=4096)
                text = result.out.decode("utf-8", "replace").strip()
                self._expected[path] = clean(text, 300) if not result.status and text.count(":") >= 2 else ""
        return self._expected.get(path, "")

    def _things(self, pid: int, context: str) -> list[SecurityRow]:
        """The process, its executable, files that it has open, and its ports, with their contexts."""
        rows = [SecurityRow(what="process", module="selinux", name=str(pid), label=context)]
        paths = {self._program(): "executable"} if self._program() else {}
        for name in self._host.proc.names(pid, "fd")[:400]:
            with suppress(GotriageError, OSError):
                path = self._host.proc.link(pid, "fd", name)
                if (
                    path.startswith("/")
                    and not path.startswith(("/dev/", "/proc/", "/sys/"))
                    and "(deleted)" not in path
                ):
                    paths.setdefault(path, "file")
        own = self._host.proc.shares(pid, "mnt")
        for path, what in list(paths.items())[:MOST_FILES]:
            label = self._label(pid, path)
            expected = self._expects(path) if own else ""
            wrong = bool(expected and label) and type_of(expected) != type_of(label)
            cure = f"restorecon -v {_word(clean(path, 1024))}" if wrong else ""
            rows.append(
                SecurityRow(
                    what=what, module="selinux", name=clean(path, 1024), label=label, expected=expected, cure=cure
                )
            )
        return [*rows, *self._port_rows()]

    def _label(self, pid: int, path: str) -> str:
        try:
            with InRoot(self._host.proc.path(pid, "root")) as root:
                return clean(root.attribute(path, LABEL).rstrip(b"\0"), 300)
        except (GotriageError, OSError):
            return ""

    def _port_rows(self) -> list[SecurityRow]:
        if self._ports is None:
            self._ports = {}
            with suppress(MissingFacility, OSError):
                result = tools.run(["semanage", "port", "-l", "-n"], timeout=10.0, limit=1 << 20)
                self._ports = parse_ports(result.out.decode("utf-8", "replace"))
        table, _ = ownsockets.sockets(self._host, self._target.pids)
        rows = []
        for protocol, state, local, *_ in table.values():
            port = ownsockets.split(local)[1]
            if state == "LISTEN" and port is not None:
                kind = protocol.removesuffix("6")
                label = self._ports.get((kind, port), "")
                rows.append(SecurityRow(what="port", module="selinux", name=f"{kind} {port}", label=label))
        return rows[:50]

    def close(self) -> None:
        """Let go of the logs."""
        self._records.close()


def _number(status: dict[str, str], name: str) -> int | None:
    text = status.get(name, "")
    return int(text) if text.isdigit() else None
