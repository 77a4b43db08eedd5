"""One `Minimal` a look: rows from every part, faults first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.collectors.minimal import machine, places, program, zone
from gotriage.errors import GotriageError, NotPermitted, reason_of
from gotriage.goruntime.elf import ElfError
from gotriage.host import clock, mounts
from gotriage.host.inroot import InRoot
from gotriage.host.rights import rights_of
from gotriage.host.streams import standard_streams
from gotriage.records.minimal import Condition, Minimal
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.collectors.minimal.program import Program
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.minimal import Standing
    from gotriage.target.model import Target

ORDER: Final = {"fault": 0, "note": 1, "unknown": 2, "ok": 3}
LOCALES: Final = ("LC_ALL", "LC_CTYPE", "LANG")
PLAIN: Final = frozenset(["C", "POSIX", "C.UTF-8", "C.utf8"])


class MinimalCollector:
    """Looks at the executable once, at the rest each time."""

    backend = "the target's root, /proc/PID and the kernel"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._program: tuple[tuple[int, int, int], Program] | None = None

    def collect(self) -> Iterator[Record]:
        """Look once. Raises TargetGone, NotPermitted, OSError."""
        pid = self._target.pid
        if pid is None:
            return
        what, rows = self._executable(pid)
        env, given = self._variables(pid)
        told, row = machine.kernel(self._host, pid, what)
        rows += [row, machine.random_numbers(), *machine.clocks(self._host), *given]
        try:
            root = InRoot(self._host.proc.path(pid, "root"))
        except PermissionError as error:
            raise NotPermitted("the target's root: permission denied; run gotriage as root (sudo)") from error
        name: str | None = None
        with root:
            rights, points = rights_of(self._host, pid), mounts.of(self._host, pid)
            rows += self._loader(root, what)
            rows += [*places.devices(root, rights, points), *places.kernel_files(root, points)]
            if env is not None:
                name, row = zone.local_zone(root, env, what)
                rows += [row, *filter(None, [zone.database(root, env, what)])]
                rows += [*places.folders(root, rights, env), _locale(root, env)]
            rows.append(machine.own_name(self._host, root, pid))
        rows += self._streams(pid)
        yield Minimal(
            at=clock.now(),
            rows=tuple(sorted(rows, key=lambda row: ORDER[row.state])),
            go_version=clean(what.go_version, 100),
            kernel=told,
            kernel_least=machine.dotted(what.least_kernel),
            zone=name,
            zones_embedded=what.zones.embedded if what.zones is not None else None,
        )

    def _executable(self, pid: int) -> tuple[Program, list[Condition]]:
        path = self._host.proc.path(pid, "exe")
        try:
            seen = program.identity(path)
            if self._program is None or self._program[0] != seen:
                self._program = seen, program.read(path)
        except (OSError, ElfError) as error:
            row = Condition(group="loader", name="program", state="unknown", value=clean(reason_of(error), 200))
            return program.Program(), [row]
        return self._program[1], []

    def _variables(self, pid: int) -> tuple[dict[str, str] | None, list[Condition]]:
        """The environment at its start; None and a row that says why."""
        try:
            return self._host.proc.environ(pid), []
        except (NotPermitted, OSError) as error:
            why = clean(reason_of(error), 200)
            return None, [
                Condition(group=group, name=name, state="unknown", value="its environment may not be read", detail=why)
                for group, name in (("time", "local time"), ("folders", "HOME, TMPDIR, PATH"))
            ]

    def _loader(self, root: InRoot, what: Program) -> list[Condition]:
        if not what.interpreter:
            return [Condition(group="loader", name="loader", value="none needed: a static program")]
        shown = clean(what.interpreter, 300)
        try:
            needs = program.loader_needs(root, what.interpreter)
        except OSError as error:
            value = f"{shown}: {clean(error.strerror or '')}"
            fix = "the libraries view says what to install; or build with CGO_ENABLED=0"
            lost = "the next start fails with `no such file or directory`"
            return [Condition(group="loader", name="loader", state="fault", value=value, detail=lost, fix=fix)]
        about = f", for Linux {machine.dotted(needs)} and later" if needs else ""
        return [Condition(group="loader", name="loader", value=f"{shown}{about}")]

    def _streams(self, pid: int) -> Iterator[Condition]:
        try:
            streams = standard_streams(self._host, pid)
        except (GotriageError, OSError):
            yield Condition(group="streams", name="streams", state="unknown", value="its descriptors may not be read")
            return
        for stream in streams:
            name = ("stdin", "stdout", "stderr")[stream.fd]
            closed, alone = stream.goes_to == "closed", stream.goes_to.endswith("no process found at its other end")
            odd = stream.fd > 0 and (closed or alone)
            detail = ""
            if odd:
                detail = "the next file opened gets this number" if closed else "a write ends it by SIGPIPE (os/signal)"
            state: Standing = "note" if odd else "ok"
            yield Condition(group="streams", name=name, state=state, value=clean(stream.goes_to, 300), detail=detail)

    def close(self) -> None:
        """Nothing is held."""


def _locale(root: InRoot, env: dict[str, str]) -> Condition:
    """The locale that C code would use (locale(7)); Go itself has none."""
    name, value = next(((name, env[name]) for name in LOCALES if env.get(name)), ("LANG", ""))
    shown = clean(f"{name}={value}", 100) if value else "none set: C"
    there = not value or value in PLAIN or "/" in value
    folders = ("/usr/lib/locale/locale-archive", f"/usr/lib/locale/{value}", "/usr/share/i18n/locales/musl")
    if there or any(root.exists(path) for path in folders):
        return Condition(group="names", name="locale", value=shown)
    return Condition(
        group="names", name="locale", value=f"{shown}, not there: C", detail="only C code asks for it; Go has no locale"
    )
