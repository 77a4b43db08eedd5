"""A snapshot of a real service shows what was seen live, on any machine and without root."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from gotriage import catalog
from gotriage.agent.launcher import launch
from gotriage.cli.gather import gather
from gotriage.records.stream import End, Header, Heartbeat
from gotriage.records.target import TargetSpec
from gotriage.render import jsonl, text
from gotriage.session.recording import load, save

from tests.lab.folders import let_enter

pytestmark = pytest.mark.real
GOTRIAGE = [sys.executable, "-m", "gotriage"]
NOBODY = 65534


@pytest.fixture
def target(service):
    return service("svc", "-tick=100ms", "-leak-fds=10", "-listen=127.0.0.1:0", "-secret=hunter2-8842")


def screens(session) -> list[str]:
    """Every view as text and JSON."""
    shown = []
    for view in catalog.VIEWS:
        for kind in view.records:
            record = session.latest(kind)
            if record is not None:
                shown += text.page(record)
                shown.append(jsonl.line(record))
        if view.table is not None and (record := session.latest(view.table)) is not None:
            shown += text.table(list(getattr(record, "rows", ())), view.columns)
    shown += [text.gap_line(gap) for gap in session.gaps()]
    shown += [jsonl.line(row) for row in session.logs.tail(10_000)]
    return shown


def test_the_screens_of_a_snapshot_are_those_that_were_seen(target, tmp_path):
    """In the front: collect, render; write, read, render."""
    path = tmp_path / "s.gts.jsonl.zst"

    def front(link) -> int:
        session = gather(link, None)
        live = screens(session)
        save(session, path, redact=False)
        opened, report = load(path)
        assert report.whole
        assert screens(opened) == live
        assert len(live) > 30
        (tmp_path / "same").write_text(str(len(live)))
        return 0

    if (child := os.fork()) == 0:
        status = 1
        try:
            status = launch(TargetSpec(kind="pid", value=str(target.pid)), front)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "same").exists()


def run(*words, uid=None, **env):
    return subprocess.run(
        [*GOTRIAGE, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=[] if uid else None,
        env={"PATH": os.environ["PATH"], "HOME": "/", "PYTHONPATH": str(Path(__file__).parents[2]), **env},
    )


def test_what_sudo_recorded_is_the_users_and_opens_without_root(target, tmp_path):
    let_enter(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    path = home / "s.gts.jsonl.zst"
    done = run("snapshot", "--pid", target.pid, "-o", path, SUDO_UID=str(NOBODY))
    assert done.returncode == 0, done.stderr
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (NOBODY, 0o600)
    opened = run("show", "files", "--from", path, "--json", uid=NOBODY)
    assert opened.returncode == 0, opened.stderr
    rows = [json.loads(line) for line in opened.stdout.splitlines()]
    assert any(row["type"] == "socket" and row.get("state") == "LISTEN" for row in rows)
    checked = run("check", "--from", path, uid=NOBODY)
    assert f"pid {target.pid}" in checked.stdout
    assert checked.returncode in (0, 1, 2)


def test_a_secret_of_the_target_is_nowhere_in_the_file(target, tmp_path):
    path = tmp_path / "r"
    done = run("record", "--pid", target.pid, "-o", path, "--for", "3")
    assert done.returncode == 0, done.stderr
    session, report = load(path)
    assert report.whole
    assert len(session.series(Heartbeat)) >= 2
    plain = subprocess.run(["zstd", "-dc"], input=path.read_bytes(), capture_output=True, check=True).stdout.decode()
    assert "hunter2-8842" not in plain
    assert session.records_of(Header)[0].redaction
    assert session.records_of(End)


def test_a_secret_of_the_target_is_not_in_the_stream_nor_in_a_view(target):
    logs = run("show", "logs", "--pid", target.pid, "--for", "3", "--json")
    assert logs.returncode == 0, logs.stderr
    assert '"dsn":"postgres://app:***@db.internal/app"' in logs.stdout
    given = run("show", "environment", "--pid", target.pid, "--json")
    with subprocess.Popen(
        [*GOTRIAGE, "agent", "--pid", str(target.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        stream = ""
        while not all(f'"kind":"{kind}"' in stream for kind in ("logs", "environment")):
            line = agent.stdout.readline()
            assert line, stream
            stream += line
        agent.stdin.close()
        stream += agent.stdout.read()
    assert "hunter2" not in logs.stdout + given.stdout + stream


def test_a_recording_ended_by_ctrl_c_is_whole(target, tmp_path):
    path = tmp_path / "r"
    child = subprocess.Popen(
        [*GOTRIAGE, "record", "--pid", str(target.pid), "-o", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (path.exists() and path.stat().st_size):
        assert child.poll() is None, child.communicate()
    os.killpg(child.pid, 2)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 0
    assert "wrote" in err
    assert load(path)[1].whole
