"""The journal of a real systemd: the same entries as `journalctl -u`, by both ways of reading, live and historic."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from gotriage.collectors.journal import JournalCollector
from gotriage.collectors.journalctl import JournalctlCollector
from gotriage.host import Host
from gotriage.host.journal import Place, unit_match
from gotriage.host.journal_cli import CommandReader
from gotriage.host.journal_files import journal_files, places
from gotriage.host.journal_library import LibraryReader
from gotriage.host.journal_scan import between
from gotriage.host.journal_watch import JournalWatch
from gotriage.records.logs import LogLines, LogState
from gotriage.records.stream import Request
from gotriage.records.target import TargetSpec
from gotriage.session.logs import LogStore
from gotriage.target.model import ContainerRef, Process, Target

from tests.lab import systemd
from tests.lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gotriage.records.logs import LogLine

    from tests.lab.systemd import Lab

pytestmark = pytest.mark.real
READERS = (LibraryReader, CommandReader)
COLLECTORS = (JournalCollector, JournalctlCollector)


def own_place(host: Host) -> Place:
    return next(place for place in places(host) if not place.namespace)


def journalctl(lab: Lab, *arguments: str) -> list[dict[str, object]]:
    out = lab.run("journalctl", "--no-pager", "-o", "json", "--all", *arguments).stdout
    return [json.loads(line) for line in out.splitlines()]


def cursors(reader: LibraryReader | CommandReader, count: int = 100_000) -> list[str]:
    reader.with_cursors = True
    return [cursor for _, _, cursor, _ in reader.newest(count)]


def gathered(watch: JournalWatch, seconds: float, until: Callable[[list[LogLine]], bool] = lambda _: False):
    """Lines and states of repeated looks."""
    lines: list[LogLine] = []
    others: list[object] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until(lines):
        for record in watch.look():
            if isinstance(record, LogLines):
                lines += record.rows
            else:
                others.append(record)
        time.sleep(0.05)
    return lines, others


def same_as_journalctl(lab: Lab, name: str) -> list[dict[str, object]]:
    lab.run("journalctl", "--sync")
    host, expected = Host.of(lab.pid), journalctl(lab, "-u", name)
    for kind in READERS:
        reader = kind(host, own_place(host), unit_match(name), 0)
        try:
            assert cursors(reader) == [entry["__CURSOR"] for entry in expected], kind.backend
        finally:
            reader.close()
    return expected


def test_units_match_as_journalctl_does(sdlab: Lab, unit: Callable[..., str]):
    unit("-tick=20ms", name="logs-tick.service")
    unit("-crash-after=50ms", "Restart=always", "RestartSec=50ms", name="logs-crash.service")
    unit("-panic=50ms", name="logs-panic.service")
    unit(command="/no/such/program", wait=False, name="logs-badexec.service")
    unit("-tick=50ms", name="logs-tmpl@.service", start=False)
    sdlab.systemctl("start", "logs-tmpl@x.service")
    unit("-tick=1s", name="logs-web.service", start=False)
    with sdlab.unit("logs-web.socket", "[Socket]\nListenStream=127.0.0.1:7651\n"):
        sdlab.wait_state("logs-crash.service", "failed")
        sdlab.wait_state("logs-panic.service", "failed")
        sdlab.wait_state("logs-badexec.service", "failed")
        sdlab.systemctl("stop", "logs-tick.service", "logs-tmpl@x.service")
        counts = {
            name: len(same_as_journalctl(sdlab, name))
            for name in (
                "logs-tick.service",
                "logs-crash.service",
                "logs-panic.service",
                "logs-badexec.service",
                "logs-tmpl@x.service",
                "logs-web.socket",
                "system.slice",
            )
        }
    assert all(counts.values()), counts


@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_crashed_unit_shows_its_panic_and_what_systemd_says(
    sdlab: Lab, unit: Callable[..., str], collector: type[JournalCollector]
):
    name = unit("-panic=100ms -panic-kind=index -format=slog", "Environment=GOTRACEBACK=all")
    sdlab.wait_state(name, "failed")
    host = Host.of(sdlab.pid)
    found = collector(host, Target(TargetSpec("unit", name), host, unit=name))
    store = LogStore()
    try:
        for _ in range(30):
            for record in found.collect():
                if isinstance(record, LogLines):
                    store.add(record)
            if store.of_kind("panic"):
                break
            time.sleep(0.1)
        (panic,) = store.of_kind("panic")
        assert panic.message.startswith("panic: runtime error: index out of range")
        assert "goroutine" in panic.message
        assert "faults.go" in panic.message
        said = store.of_kind("systemd")
        assert any(line.fields.get("EXIT_STATUS") == "2" for line in said)
        assert any(line.fields.get("UNIT_RESULT") == "exit-code" for line in said)
        physical = sum(line.count for line in store.tail(1000))
        assert physical == len(journalctl(sdlab, "-u", name))
        history = [record for record in found.answer(Request(1, "logs", limit=5)) if isinstance(record, LogLines)]
        assert sum(line.count for record in history for line in record.rows) == 5
        assert all(record.history for record in history)
    finally:
        found.close()


@pytest.mark.parametrize("reader", READERS)
def test_following_goes_on_over_rotation_vacuum_and_restart(
    sdlab: Lab, unit: Callable[..., str], reader: type[LibraryReader]
):
    name = unit("-tick=5ms -burst=5 -format=plain", "LogRateLimitIntervalSec=0")
    watch = JournalWatch(Host.of(sdlab.pid), reader, unit_match(name), cursors=True)
    try:
        lines, _ = gathered(watch, 1)
        for command in (
            ("journalctl", "--rotate"),
            ("journalctl", "--rotate"),
            ("systemctl", "restart", "systemd-journald"),
            ("journalctl", "--vacuum-files=3"),
        ):
            sdlab.run(*command)
            more, _ = gathered(watch, 0.7)
            assert more, command
            lines += more
        sdlab.systemctl("stop", name)
        sdlab.run("journalctl", "--sync")
        lines += gathered(watch, 3)[0]
    finally:
        watch.close()
    seen = Counter(line.cursor for line in lines)
    assert max(seen.values()) == 1
    expected = [str(entry["__CURSOR"]) for entry in journalctl(sdlab, "-u", name)]
    assert set(expected) <= set(seen)
    assert len(expected) > 500


@pytest.mark.parametrize("reader", READERS)
def test_history_between_two_times(sdlab: Lab, unit: Callable[..., str], reader: type[LibraryReader]):
    name = unit("-tick=5ms -format=plain", "LogRateLimitIntervalSec=0")
    time.sleep(0.5)
    sdlab.systemctl("stop", name)
    sdlab.run("journalctl", "--sync")
    entries = [(int(str(e["__REALTIME_TIMESTAMP"])), str(e["__CURSOR"])) for e in journalctl(sdlab, "-u", name)]
    host = Host.of(sdlab.pid)
    found = reader(host, own_place(host), unit_match(name), 0)
    found.with_cursors = True
    first, last = entries[10][0], entries[-10][0]
    try:
        for since, until, count in ((first, last, 1000), (None, last, 1000), (first, None, 1000), (None, None, 7)):
            expected = [cursor for us, cursor in entries if (since or 0) <= us <= (until or 1 << 62)][-count:]
            assert [cursor for _, _, cursor, _ in found.between(since, until, count)] == expected
    finally:
        found.close()


def test_history_from_the_files_while_journald_writes_them(sdlab: Lab, unit: Callable[..., str]):
    name = unit("-tick=2ms -format=plain", "LogRateLimitIntervalSec=0")
    host = Host.of(sdlab.pid)
    paths = [file.path for file in journal_files(host, own_place(host))]
    reader = LibraryReader(host, own_place(host), unit_match(name), 0)
    reader.with_cursors = True
    try:
        for _ in range(20):
            time.sleep(0.1)
            until = int(time.time() * 1e6) - 50_000
            found = [
                (dict(fields), us, text) for fields, us, _, text in between(paths, unit_match(name), 1, until, 9999)
            ]
            assert found == [(fields, us, text) for fields, us, _, text in reader.between(1, until, 9999)]
        assert len(found) > 100
    finally:
        reader.close()


def test_a_unit_that_never_logged_gets_its_first_line(sdlab: Lab, unit: Callable[..., str]):
    name = unit("-tick=1h -sleep-before=1s", start=False)
    for reader in READERS:
        watch = JournalWatch(Host.of(sdlab.pid), reader, unit_match(name))
        try:
            assert gathered(watch, 0.2)[0] == []
            sdlab.systemctl("start", name)
            lines, _ = gathered(watch, 5, lambda lines: len(lines) >= 2)
            assert lines
            assert len(lines) == len({line.at for line in lines})
        finally:
            watch.close()
        sdlab.systemctl("stop", name)
        name = unit("-tick=1h -sleep-before=1s", start=False)


def test_lines_that_journald_throws_away_are_counted(sdlab: Lab, unit: Callable[..., str]):
    name = unit("-tick=100ms -burst=50", "LogRateLimitIntervalSec=1s", "LogRateLimitBurst=20")
    watch = JournalWatch(Host.of(sdlab.pid), LibraryReader, unit_match(name))
    try:
        lines, others = gathered(watch, 8, lambda lines: any(line.kind == "dropped" for line in lines))
    finally:
        watch.close()
    assert any(line.kind == "dropped" for line in lines)
    state = [record for record in others if isinstance(record, LogState)][-1]
    assert state.sources[0].state == "rate-limited"
    assert state.sources[0].dropped


def test_a_log_namespace_is_read_too(sdlab: Lab, unit: Callable[..., str]):
    name = unit("-tick=50ms", "LogNamespace=apps")
    time.sleep(0.5)
    watch = JournalWatch(Host.of(sdlab.pid), LibraryReader, unit_match(name))
    try:
        lines, others = gathered(watch, 1)
    finally:
        watch.close()
        sdlab.systemctl("stop", name)
        sdlab.systemctl("stop", "systemd-journald@apps.service", "systemd-journald@apps.socket", check=False)
    assert {line.identifier for line in lines} >= {"systemd", "svc"}
    state = [record for record in others if isinstance(record, LogState)][-1]
    assert [source.name for source in state.sources] == ["journal", "journal of namespace apps"]


def test_a_process_without_a_unit_shows_its_own_lines(sdlab: Lab, unit: Callable[..., str]):
    name = unit("-tick=50ms", "KillMode=process")
    pid = sdlab.main_pid(name)
    host = Host.of(sdlab.pid)
    target = Target(TargetSpec("pid", str(pid)), host, main=Process(host, pid), pids=(pid,))
    found = JournalCollector(host, target)
    lines: list[LogLine] = []
    try:
        for _ in range(10):
            lines += [line for record in found.collect() if isinstance(record, LogLines) for line in record.rows]
            time.sleep(0.1)
    finally:
        found.close()
        assert target.main is not None
        target.main.close()
    inner = int(sdlab.show(name, "MainPID")["MainPID"])
    assert lines
    assert {line.pid for line in lines} == {inner}


def test_a_container_target_has_no_journal_state_of_its_own(sdlab: Lab):
    host = Host.of(sdlab.pid)
    target = Target(TargetSpec("container", "x"), host, container=ContainerRef("docker", "0" * 64))
    found = JournalCollector(host, target)
    try:
        assert list(found.collect()) == []
    finally:
        found.close()


# -- states that need a journald of their own


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = systemd.up(f"logs{os.getpid()}")
    try:
        yield made
    finally:
        made.down()


def state_of(lab: Lab, name: str = "systemd-logind.service") -> LogState:
    watch = JournalWatch(Host.of(lab.pid), LibraryReader, unit_match(name))
    try:
        return next(record for record in watch.look() if isinstance(record, LogState))
    finally:
        watch.close()


def test_volatile_storage_none_and_damage(lab: Lab):
    good = state_of(lab)
    assert (good.sources[0].state, good.boots) == ("ok", 1)
    assert good.oldest is not None
    lab.run("journalctl", "--rotate")
    folder = lab.root / "var/log/journal" / (lab.root / "etc/machine-id").read_text().strip()
    archived = next(path for path in folder.iterdir() if "@" in path.name)
    os.truncate(archived, archived.stat().st_size // 2)
    damaged = state_of(lab).sources[0]
    assert (damaged.state, "truncated" in damaged.detail) == ("damaged", True)
    lab.write("/etc/systemd/journald.conf", "[Journal]\nStorage=volatile\n")
    lab.systemctl("restart", "systemd-journald")
    lab.run("sh", "-c", "rm -rf /var/log/journal")
    volatile = state_of(lab).sources[0]
    assert volatile.state == "volatile"
    assert "mkdir -p /var/log/journal" in volatile.remedy
    lab.run("systemd-run", "--wait", "--unit=hello", "echo", "hello")
    watch = JournalWatch(Host.of(lab.pid), LibraryReader, unit_match("hello.service"))
    assert "hello" in [line.message for line in gathered(watch, 1)[0]]
    watch.close()
    lab.write("/etc/systemd/journald.conf", "[Journal]\nStorage=none\n")
    lab.systemctl("restart", "systemd-journald")
    assert state_of(lab).sources[0].state == "none"


UNREADABLE = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from gotriage.host import Host
from gotriage.host.journal import unit_match
from gotriage.host.journal_library import LibraryReader
from gotriage.host.journal_scan import between
from gotriage.host.journal_watch import JournalWatch
from gotriage.session.stream import encode
watch = JournalWatch(Host(), LibraryReader, unit_match("systemd-logind.service"))
for record in (*watch.look(), *watch.look()):
    sys.stdout.buffer.write(repr((type(record).__name__, record)).encode() + b"\\n")
"""


def test_without_permission_it_says_so(lab: Lab):
    out = lab.run(sys.executable, "-c", UNREADABLE.replace("from gotriage.session.stream import encode\n", "")).stdout
    assert "LogLines" not in out
    assert "'unreadable'" in out
    gap, again = (line for line in out.splitlines() if line.startswith("('Gap'"))
    assert "closed=False" in gap
    assert gap == again
    assert "systemd-journal" in gap
    assert "permission=True" in gap


def test_a_users_unit(lab: Lab):
    lab.run("useradd", "-m", "-u", "1234", "tester")
    lab.run("loginctl", "enable-linger", "tester")
    user = ("systemctl", "--user", "-M", "tester@")
    for _ in range(100):
        if lab.run(*user, "is-system-running", check=False).stdout.strip() in ("running", "degraded"):
            break
        time.sleep(0.1)
    lab.write("/etc/systemd/user/hi.service", "[Service]\nExecStart=/bin/sh -c 'echo hi; sleep 30'\n")
    lab.run(*user, "daemon-reload")
    lab.run(*user, "start", "hi.service")  # it stays: whose line it is, journald reads from the living process
    asked = ("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "journalctl", "-o", "json",
             "--user-unit=hi.service")  # fmt: skip
    wait_until(lambda: "hi" in [entry["MESSAGE"] for entry in json_lines(lab.run(*asked).stdout)])
    lab.run("journalctl", "--sync")
    host = Host.of(lab.pid)
    expected = json_lines(lab.run(*asked).stdout)
    for kind in READERS:
        reader = kind(host, own_place(host), unit_match("hi.service", 1234), 0)
        assert cursors(reader) == [entry["__CURSOR"] for entry in expected]
        reader.close()
    assert "hi" in [entry["MESSAGE"] for entry in expected]


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]
