"""Real paths and file systems: full ones, read-only ones, frozen ones, ones that never answer; ACLs, flags, traps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
from gotriage.collectors import Unavailable
from gotriage.collectors.paths.collector import PathCollector
from gotriage.collectors.paths.inodes import InodeCollector
from gotriage.collectors.paths.sleepers import SleeperCollector
from gotriage.host.filesystems import disks, node

from tests.lab.folders import let_enter
from tests.lab.process import wait_until
from tests.real.checks import check, first
from tests.real.targets import findings, target_of

pytestmark = pytest.mark.real
WAIT = "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()"
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


@pytest.fixture
def process():
    """Start Python processes; all are ended."""
    started = []

    def start(*arguments, code=WAIT, **more):
        words = [sys.executable, "-c", code, *map(str, arguments)]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        started.append(child)
        assert child.stdout.read(2) == b"up"
        return child.pid

    yield start
    for child in started:
        child.kill()
        child.stdin.close()
        child.wait()


@contextmanager
def mounted(place, *options):
    """A file system at the place, whatever it is then; unmounted at the end."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", *map(str, options), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture
def disk(tmp_path):
    """A small ext4 on a loop device."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(tmp_path / "disk", "-o", "loop", image) as place:
        yield place


def look(pid):
    target = target_of(pid)
    paths, systems = PathCollector(target.host, target).collect()
    return paths, systems


def row_of(record, path):
    return next(row for row in record.rows if row.path == str(path))


def system_of(record, point):
    return next(one for one in record.systems if one.point == str(point))


# -- rights


def test_a_healthy_service_may_use_its_paths(service):
    running = service("healthy", "-rate=0")
    paths, systems = look(running.pid)
    assert {row.state for row in paths.rows} == {"ok"}
    assert row_of(paths, running.output).needs == "w"
    assert row_of(paths, running.folder).source == "working directory"
    (one,) = [one for one in systems.systems if one.written]
    assert one.total_bytes
    assert one.read_only == ""
    assert findings(running.pid, paths, systems) == {}


def test_which_component_refuses(process, tmp_path):
    let_enter(tmp_path)
    shut = tmp_path / "shut"
    (shut / "data").mkdir(parents=True)
    (shut / "data/app.yaml").write_text("x")
    shut.chmod(0o700)
    pid = process(f"--config={shut}/data/app.yaml", **NOBODY)
    paths, systems = look(pid)
    row = row_of(paths, shut / "data/app.yaml")
    assert (row.state, row.reason) == ("refused", f"uid 65534 may not enter {shut}")
    assert [part.path for part in row.components if part.refused] == [str(shut)]
    assert row.components[-1].owner == "root:root"
    assert findings(pid, paths, systems)["permission-denied"].subject == str(shut / "data/app.yaml")
    subprocess.run(["setfacl", "-m", "u:65534:x", str(shut)], check=True)
    row = row_of(look(pid)[0], shut / "data/app.yaml")
    assert row.state == "ok"
    assert "user 65534 --x" in {part.acl for part in row.components}


def test_an_immutable_folder_stops_even_root(process, disk):
    data = disk / "data"
    data.mkdir()
    subprocess.run(["chattr", "+i", str(data)], check=True)
    pid = process("--data-dir", data)
    paths, systems = look(pid)
    row = row_of(paths, data)
    assert (row.state, row.flags) == ("refused", ("immutable",))
    assert "chattr +i" in findings(pid, paths, systems)["permission-denied"].title
    subprocess.run(["chattr", "-i", str(data)], check=True)
    assert row_of(look(pid)[0], data).state == "ok"


def test_a_program_that_could_not_be_started_again(process, tmp_path):
    with mounted(tmp_path / "own", "-t", "tmpfs", "-o", "exec", "none") as place:
        shutil.copy("/bin/cat", place / "service")
        child = subprocess.Popen([place / "service"], stdin=subprocess.PIPE)
        try:
            wait_until(lambda: os.readlink(f"/proc/{child.pid}/exe") == str(place / "service"))
            assert row_of(look(child.pid)[0], place / "service").state == "ok"
            subprocess.run(["mount", "-o", "remount,bind,noexec", str(place)], check=True)
            row = row_of(look(child.pid)[0], place / "service")
            assert row.state == "refused"
            assert "noexec" in row.reason
        finally:
            child.kill()
            child.wait()


def test_what_is_missing_and_whether_it_may_be_made(process, tmp_path):
    let_enter(tmp_path)
    pid = process(f"--log={tmp_path}/new.log", f"--state={tmp_path}/a/b", **NOBODY)
    paths, _ = look(pid)
    assert row_of(paths, tmp_path / "new.log").reason == f"not there, and it may not make it in {tmp_path}"
    assert row_of(paths, tmp_path / "a/b").reason == f"not there, nor is {tmp_path}/a"


def test_capabilities_in_another_user_namespace_hold_only_over_mapped_ids(tmp_path):
    let_enter(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    words = ["unshare", "--user", "--map-user=0", "--map-group=0", sys.executable, "-c", WAIT, f"--data-dir={theirs}"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **NOBODY)
    try:
        assert child.stdout.read(2) == b"up"
        row = row_of(look(child.pid)[0], theirs)
        assert (row.state, row.needs) == ("refused", "wx")
        os.chown(theirs, 65534, 65534)
        theirs.chmod(0o000)
        assert row_of(look(child.pid)[0], theirs).state == "ok"  # it has CAP_DAC_OVERRIDE over its own ids
    finally:
        child.kill()
        child.stdin.close()
        child.wait()


def test_names_with_control_characters_and_loops(process, tmp_path):
    odd, loop = tmp_path / "a\x1b[31mb", tmp_path / "loop"
    odd.mkdir()
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "fifo")
    paths, _ = look(process(f"--config={odd}", loop, tmp_path / "fifo", "/" + "x/" * 2000, cwd=odd))
    assert all(row.path.isprintable() and row.reason.isprintable() for row in paths.rows)
    assert row_of(paths, loop).state == "unknown"
    assert row_of(paths, tmp_path / "fifo").state == "ok"


def test_who_dropped_root_may_have_read_its_file_before(process, tmp_path):
    let_enter(tmp_path)
    config = tmp_path / "app.yaml"
    config.write_text("x")
    config.chmod(0o600)
    drop = "import os; os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); os.chdir('/'); "
    assert row_of(look(process(f"--config={config}", code=drop + WAIT))[0], config).state == "ok"


def test_a_link_that_leads_to_another_file_system(process, tmp_path):
    with mounted(tmp_path / "there", "-t", "tmpfs", "none") as place:
        (tmp_path / "data").symlink_to(place)
        paths, systems = look(process("--data-dir", tmp_path / "data"))
        assert row_of(paths, tmp_path / "data").mount == str(place)
        assert system_of(systems, place).written


def test_a_log_that_root_has_opened_for_it_is_in_order(process, tmp_path):
    let_enter(tmp_path)
    with (tmp_path / "own.log").open("w") as log:
        (tmp_path / "own.log").chmod(0o600)
        row = row_of(look(process(stderr=log, **NOBODY))[0], tmp_path / "own.log")
    assert row.state == "ok"
    assert row.reason == "open; opening it anew is refused: uid 65534 may not write it"


def test_a_working_directory_that_is_given_to_write_in_as_well(process, tmp_path):
    let_enter(tmp_path)
    row = row_of(look(process("--data-dir", tmp_path, cwd=tmp_path, **NOBODY))[0], tmp_path)
    assert (row.needs, row.state, row.source) == ("wx", "refused", "working directory")


# -- file systems


def test_a_file_system_without_inodes(process, tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "nr_inodes=50,mode=0777", "none") as place:
        pid = process("--data-dir", place)
        assert findings(pid, *look(pid)) == {}
        for number in range(49):
            (place / str(number)).touch()
        paths, systems = look(pid)
        found = findings(pid, paths, systems)
        assert system_of(systems, place).inodes_room == 0
    assert set(found) == {"inodes-exhausted"}
    assert found["inodes-exhausted"].severity == "critical"
    assert found["inodes-exhausted"].subject == str(place)


def test_a_file_system_that_fills_and_is_full(process, tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=4m", "none") as place:
        pid = process("--data-dir", place)
        (place / "a").write_bytes(bytes(4_120_000))
        found = findings(pid, *look(pid))
        assert found["disk-full"].severity == "warning", found
        with (place / "b").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        found = findings(pid, *look(pid))
    assert set(found) == {"disk-full"}
    assert found["disk-full"].severity == "critical"
    assert "nothing left" in found["disk-full"].title


def test_a_file_system_that_became_read_only(process, disk):
    (disk / "data").mkdir()
    pid = process("--data-dir", disk / "data")
    before = look(pid)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    after = look(pid)
    found = findings(pid, *before, *after)
    assert row_of(after[0], disk / "data").state == "read-only"
    assert system_of(after[1], disk).read_only == "file system"
    assert set(found) == {"read-only-filesystem"}
    assert (found["read-only-filesystem"].severity, found["read-only-filesystem"].subject) == ("warning", str(disk))
    assert any(text.startswith("writable until") for text in found["read-only-filesystem"].evidence)


def test_a_mount_that_forbids_what_its_file_system_allows(process, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    log = data / "log"
    code = f"held = open({str(log)!r}, 'w'); " + WAIT
    pid = process("--data-dir", data, code=code)
    with mounted(tmp_path / "other", "--bind", data):
        paths, systems = look(process("--data-dir", tmp_path / "other"))
        assert row_of(paths, tmp_path / "other").state == "ok"
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path / "other")], check=True)
        paths, systems = look(process("--data-dir", tmp_path / "other"))
        assert row_of(paths, tmp_path / "other").reason.startswith("the mount at")
        assert system_of(systems, tmp_path / "other").read_only == "mount"
    assert row_of(look(pid)[0], log).state == "ok"


@pytest.mark.slow
def test_a_read_only_container_that_writes_nowhere_is_in_order(docker, build, sdlab):
    docker.run("sealed", docker.image(build("healthy")), options=("--read-only",))
    assert check("--root-pid", sdlab.pid, "--container", "sealed") == [[], 0]


def test_the_layers_and_devices_below(process, tmp_path, disk):
    for name in ("low", "up", "work"):
        (tmp_path / "layers" / name).mkdir(parents=True)
    layers = tmp_path / "layers"
    with mounted(layers, "-t", "tmpfs", "none"):
        for name in ("low", "up", "work"):
            (layers / name).mkdir()
        options = f"lowerdir={layers}/low,upperdir={layers}/up,workdir={layers}/work"
        with mounted(tmp_path / "merged", "-t", "overlay", "-o", options, "none") as place:
            _, systems = look(process(cwd=place))
    assert system_of(systems, place).layers == (f"upper {layers}/up", f"lower {layers}/low")
    one = system_of(look(process(cwd=disk))[1], disk)
    assert one.disks[0].startswith("loop")
    assert str(tmp_path / "image") in one.disks[0]
    assert one.errors == 0


def test_deleted_files_that_are_held(process, tmp_path):
    gone = tmp_path / "gone.log"
    code = f"import os; f = open({str(gone)!r}, 'wb'); f.write(bytes(300000)); f.flush(); os.unlink(f.name); " + WAIT
    paths, _ = look(process(code=code))
    row = row_of(paths, gone)
    assert row.state == "deleted"
    assert paths.deleted
    assert paths.deleted_bytes >= row.held_bytes >= 300_000


def test_a_file_system_that_never_answers(tmp_path):
    hung, link = tmp_path / "hung", tmp_path / "link"
    hung.mkdir()
    link.symlink_to(hung / "inside")
    command = [sys.executable, "-m", "tests.real.hungfs", str(hung), str(link)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        collector = PathCollector(target_of(child.pid).host, target_of(child.pid))
        try:
            list(collector.collect())
            paths, systems = collector.collect()
        finally:
            collector.close()
            child.kill()
    assert row_of(paths, link).state == "stalled"
    row = next(row for row in paths.rows if row.source == "working directory")
    assert row.state == "stalled"
    assert next(one for one in systems.systems if one.point == row.mount).stalled
    assert [row for row in paths.rows if row.state == "ok"]


def test_an_inode_on_the_disk_itself(process, disk):
    gone = disk / "gone.log"
    code = (
        f"import os; f = open({str(gone)!r}, 'wb'); f.write(bytes(300000)); os.fsync(f.fileno()); os.unlink(f.name); "
    )
    target = target_of(process(code=code + WAIT, cwd=disk))
    subprocess.run(["sync", "-f", str(disk)], check=True)
    collector = InodeCollector(target.host, target)
    (record,) = collector.collect()
    by_path = {one.path: one for one in record.inodes}
    folder, file = by_path[str(disk)], by_path[f"{gone} (deleted)"]
    assert (folder.number, folder.type) == (2, "directory")
    assert (file.type, file.mode, file.size) == ("regular", "0644", 300_000)
    assert file.disk_bytes >= 300_000
    assert file.extents >= 1
    assert "extents" in file.flags
    assert next(iter(collector.collect())).inodes == record.inodes


def test_no_debugfs_on_other_file_systems(process, tmp_path):
    with mounted(tmp_path / "own", "-t", "tmpfs", "-o", "exec", "none") as place:
        target = target_of(process(cwd=place))
        seen = []
        with suppress(Unavailable):  # where the executable lies on such a file system it may be told
            seen += [one.path for record in InodeCollector(target.host, target).collect() for one in record.inodes]
        assert str(place) not in seen


# -- threads that hang


def test_a_thread_on_a_frozen_file_system(disk):
    name = disk / "log"
    code = f"import sys; f = open({str(name)!r}, 'ab', 0)\nsys.stdout.write('up'); sys.stdout.flush()\n"
    code += "sys.stdin.readline(); f.write(b'x'); sys.stdout.write('ok'); sys.stdout.flush(); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout.read(2) == b"up"
        target = target_of(child.pid)
        collector = SleeperCollector(target.host, target)
        assert next(iter(collector.collect())).sleepers == ()
        subprocess.run(["fsfreeze", "-f", str(disk)], check=True)
        try:
            child.stdin.write(b"\n")
            child.stdin.flush()
            wait_until(lambda: target.host.proc.stat(child.pid).state == "D")
            list(collector.collect())
            (record,) = collector.collect()
            (one,) = record.sleepers
            soon, late = findings(child.pid, record, later=1), findings(child.pid, record, later=90)
        finally:
            subprocess.run(["fsfreeze", "-u", str(disk)], check=True)
        assert child.stdout.read(2) == b"ok"
        assert next(iter(collector.collect())).sleepers == ()
    finally:
        child.kill()
        child.stdin.close()
        child.wait()
    assert (one.call, one.path, one.tid) == ("write", str(name), child.pid)
    assert soon == {}
    assert late["uninterruptible-sleep"].severity == "critical"
    assert str(name) in late["uninterruptible-sleep"].title


def test_the_device_of_the_root_file_system():
    facts = os.stat("/")
    device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
    host = target_of(os.getpid()).host
    if disks(host.sys, device):
        found = node(host.sys, device)
        assert found is None or found.startswith("/dev/")
    assert disks(host.sys, "0:21") == ()
    assert node(host.sys, "250:99") is None


# -- the whole way


def test_check_tells_of_inodes(process, tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "nr_inodes=50,mode=0777", "none") as place:
        for number in range(49):
            (place / str(number)).touch()
        found = first("--pid", process("--data-dir", place))
    assert (found["id"], found["severity"], found["view"]) == ("inodes-exhausted", "critical", "paths")


@pytest.mark.slow
def test_check_tells_of_a_thread_that_hangs(disk):
    code = f"import sys; f = open({str(disk / 'log')!r}, 'ab', 0); f.write(b'x'); sys.stdout.write('up'); "
    code += "sys.stdout.flush(); sys.stdin.readline(); f.write(b'x')"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout.read(2) == b"up"
        subprocess.run(["fsfreeze", "-f", str(disk)], check=True)
        child.stdin.write(b"\n")
        child.stdin.flush()
        found = first("--pid", child.pid, "--for", "22s")
    finally:
        subprocess.run(["fsfreeze", "-u", str(disk)], check=True)
        child.kill()
        child.stdin.close()
        child.wait()
    assert found["id"] == "uninterruptible-sleep"
    assert str(disk / "log") in found["title"]
