"""Core files of real services: the goroutines are those of the live process, and every command takes them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from gotriage.goruntime.runtime import attach

from tests.goruntime.cores import of_gcore
from tests.lab import gotrace, toolchain
from tests.lab.folders import let_enter
from tests.lab.process import wait_until
from tests.real.terminal import Terminal
from tests.real.test_bad_input import GOTRIAGE, gotriage, one_clear_line

pytestmark = pytest.mark.real
STRIPPED = ("-ldflags=-s -w",)
TGKILL = 234
"""Its number on x86-64."""
NOBODY = 65534


def made_by_the_kernel():
    """Where the kernel puts a core file into the process's own folder."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    return not pattern.startswith("|") and "/" not in pattern


by_kernel = pytest.mark.skipif(not made_by_the_kernel(), reason="core files go elsewhere here (core_pattern)")


@pytest.fixture
def folder(tmp_path):
    """One that other users may look into."""
    return let_enter(tmp_path)


@pytest.fixture
def crashed(service, tmp_path):
    """Start a service that ends with a core file; what makes it end, its process given."""

    def run(name, *arguments, end, **making):
        env = {**os.environ, "GOTRACEBACK": "crash", "GOMAXPROCS": "4"}
        wrapper = ("prlimit", "--core=unlimited")
        running = service(name, *arguments, env=env, cwd=tmp_path, wrapper=wrapper, **making)
        end(running)
        running.process.wait(60)
        (core,) = tmp_path.glob("core*")
        return running, str(core)

    return run


def frames(dump, one):
    return [(each.function, each.file, each.line) for each in dump.stacks[one.stack].frames] if one.stack >= 0 else None


def shown(*words):
    done = gotriage("show", *words, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("go", toolchain.QUICK)
def test_goroutines_are_those_of_the_live_process(service, tmp_path, go):
    running = service("parked", go=go, flags=STRIPPED)
    for _ in range(3):  # two looks at two moments: what moved in between stands still at another
        with attach(running.pid) as runtime:
            live = runtime.dump(rows=5000)
        told = gotrace.fetch(running.address)
        core = of_gcore(running.pid, tmp_path)
        with attach(core=core) as runtime:
            dump = runtime.dump(rows=5000)
            assert runtime.memory.pid == running.pid
            assert runtime.identity.go_version.startswith(f"go{go}")
        if not (different := gotrace.differences(dump, told)):
            break
    assert different == []
    assert dump.problems == ()
    assert len({one.id for one in dump.goroutines} & told.keys()) > 150
    before = {one.id: one for one in live.goroutines if one.state == "waiting" and not one.moved and not one.system}
    after = {one.id: one for one in dump.goroutines if one.state == "waiting" and not one.system}
    both = [goid for goid in before.keys() & after.keys() if before[goid].wait_reason != "sleep"]
    assert len(both) > 140
    for goid in both:
        assert after[goid].wait_reason == before[goid].wait_reason
        assert after[goid].waiting_on == before[goid].waiting_on
        assert frames(dump, after[goid]) == frames(live, before[goid])


def test_goroutines_on_a_cpu_stand_where_their_registers_say(service, tmp_path):
    running = service("parked", "-plain", "-spin=2")
    core = of_gcore(running.pid, tmp_path)
    with attach(core=core) as runtime:
        dump = runtime.dump()
    spinning = [one for one in dump.goroutines if dump.sites[one.start].function == "main.spinForever"]
    assert len(spinning) == 2
    for one in spinning:
        names = [function for function, *_ in frames(dump, one)]
        assert names[-2:] == ["main.spinForever", "runtime.goexit"]
        assert dump.stacks[one.stack].complete


@by_kernel
@pytest.mark.parametrize(("go", "cgo"), [(go, cgo) for go in toolchain.QUICK for cgo in (False, True)])
def test_a_signal_handler_does_not_hide_where_a_goroutine_stood(crashed, go, cgo):
    """The spinning thread itself gets the signal: what Go's own crash report says of it is what the core says."""
    spun = []

    def quit_on_cpu(running):
        def running_now():
            with attach(running.pid) as runtime:
                dump = runtime.dump()
            found = [one for one in dump.goroutines if one.state == "running" and one.thread]
            return [one for one in found if dump.sites[one.start].function == "main.spinForever"]

        def hit():
            for one in running_now():
                ctypes.CDLL(None).syscall(TGKILL, running.pid, one.thread, signal.SIGQUIT)
                spun.append(one.id)
            return spun

        wait_until(hit, 60)

    running, core = crashed("parked", "-plain", "-spin=1", end=quit_on_cpu, go=go, cgo=cgo)
    with attach(core=core) as runtime:
        dump = runtime.dump()
        assert runtime.memory.signal == signal.SIGABRT
    (one,) = [one for one in dump.goroutines if one.id == spun[0]]
    told = gotrace.parse(running.log)[one.id]
    if told.state == "running" and told.stack:
        assert one.state == "running"
        assert frames(dump, one)[: len(told.stack)] == told.stack


@by_kernel
@pytest.mark.parametrize("kind", ["nil", "error", "fatal"])
def test_who_panicked_is_the_first_finding(crashed, kind):
    _, core = crashed("svc", "-panic=200ms", f"-panic-kind={kind}", end=lambda _: None)
    done = gotriage("check", "--core", core, "--json", timeout=120)
    assert done.returncode == 2, done.stderr
    finding = json.loads(done.stdout.splitlines()[0])
    assert (finding["id"], finding["severity"], finding["view"]) == ("panic", "critical", "goroutines")
    assert "main." in finding["title"]
    assert "SIGABRT" in finding["evidence"][0]
    header = gotriage("check", "--core", core, timeout=120).stdout.splitlines()[0]
    assert header.startswith("core")
    assert "go1." in header
    assert "signal SIGABRT  made " in header


def test_a_deadlock_is_found_in_a_core_file_packed_or_not_and_in_a_snapshot_of_it(service, folder):
    running = service("goill", "-ill=abba")

    def ring():
        with attach(running.pid) as runtime:
            return runtime.dump().cycles

    wait_until(ring, 60)
    core = of_gcore(running.pid, folder)
    packed, kept = folder / "packed.zst", folder / "kept.gts"
    subprocess.run(["zstd", "-q", core, "-o", packed], check=True, timeout=120)
    done = gotriage("snapshot", "--core", packed, "-o", kept, timeout=120)
    assert done.returncode == 0, done.stderr
    for words in (("--core", core), ("--core", packed), ("--from", kept)):
        done = gotriage("check", *words, "--json", timeout=120)
        assert done.returncode == 2, done.stderr
        assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["deadlock"], words
    one_by_one = shown("goroutines", "--core", core, "--json").splitlines()
    assert one_by_one == shown("goroutines", "--from", kept, "--json").splitlines()
    assert len(one_by_one) > 200
    build = json.loads(shown("runtime", "--core", core, "--json"))
    assert build["module"] == "example.com/gotriage/goill"
    assert build["go_version"] == f"go{toolchain.NEWEST}"
    assert build["gomaxprocs"] > 0
    assert "a core file holds" in shown("files", "--core", core)


@pytest.mark.parametrize(("ill", "ids"), [("leak-one", ["goroutine-leak"]), ("pool", []), ("busy", [])])
def test_goroutines_that_nothing_can_wake_are_seen_in_one_look(service, tmp_path, ill, ids):
    running = service("goill", f"-ill={ill}")

    def all_started():
        with attach(running.pid) as runtime:
            dump = runtime.dump()
        return ill != "leak-one" or dump.reasons.get("chan send", 0) >= 200

    wait_until(all_started, 60)
    done = gotriage("check", "--core", of_gcore(running.pid, tmp_path), "--json", timeout=120)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ids, done.stderr


def test_the_screens_open_a_core_file(service, folder):
    running = service("goill", "-ill=abba")
    core = of_gcore(running.pid, folder)
    packed = folder / "packed.zst"
    subprocess.run(["zstd", "-q", core, "-o", packed], check=True, timeout=120)
    for file in (core, packed):
        with Terminal([GOTRIAGE, "open", str(file)], size=(120, 40)) as terminal:
            terminal.wait_for("no signal", 60)
            terminal.wait_for("CORE", 60)
            terminal.press("5")
            terminal.wait_for("main.audit", 60)
            terminal.press("7")
            terminal.wait_for("a core file holds", 60)
            terminal.press("q")
            assert terminal.end() == 0
            assert terminal.restored


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_core_file_is_read_by_who_may_read_it(service, folder):
    core = of_gcore(service("parked", "-plain", env={"HOME": "/"}).pid, folder)
    program = folder / "program"
    shutil.copy(toolchain.build("parked"), program)
    Path(core).chmod(0o600)
    words = ("check", "--core", core, "--exe", program)
    one_clear_line(gotriage(*words, uid=NOBODY), 77, core, "permission denied")
    os.chown(core, NOBODY, NOBODY)
    assert gotriage(*words, uid=NOBODY, env={"HOME": "/"}).returncode == 0


def test_a_program_that_has_moved_is_asked_for(tmp_path):
    from tests.lab.process import Start, started

    program = tmp_path / "program"
    shutil.copy(toolchain.build("parked"), program)
    with started(Start(program, ("-plain",))) as running:
        core = of_gcore(running.pid, tmp_path)
    program.rename(tmp_path / "elsewhere")
    one_clear_line(gotriage("check", "--core", core), 3, str(program), "--exe")
    assert gotriage("check", "--core", core, "--exe", tmp_path / "elsewhere").returncode == 0
    one_clear_line(
        gotriage("check", "--core", core, "--exe", toolchain.build("goill")), 3, "build id", "is not the program"
    )


def test_what_is_no_core_file_of_a_go_program(service, tmp_path, sleeper):
    whole = Path(of_gcore(service("parked", "-plain").pid, tmp_path))
    head = whole.read_bytes()[: 1 << 20]
    cut, riscv, small, text = (tmp_path / name for name in ("cut", "riscv", "small", "text"))
    cut.write_bytes(head[: len(head) // 2])
    riscv.write_bytes(head[:18] + b"\xf3\0" + head[20:])
    small.write_bytes(head[:4] + b"\1" + head[5:])
    text.write_text("no core\n")
    packed = tmp_path / "packed.zst"
    packed.write_bytes(b"\x28\xb5\x2f\xfd" + b"no frame" * 100)
    for file, words in (
        (cut, ("cut",)),
        (riscv, ("riscv64", "amd64 and arm64")),
        (small, ("32-bit",)),
        (text, ("not an ELF core file",)),
        (packed, ("damaged",)),
        ("/bin/true", ("not a core file", "--exe")),
        (tmp_path / "nowhere", ("no such file",)),
        (tmp_path, ("not a regular file",)),
        (of_gcore(sleeper.pid, tmp_path), ("not a Go program",)),
    ):
        one_clear_line(gotriage("check", "--core", file), 3, Path(file).name, *words)
    one_clear_line(gotriage("open", text), 3, "text")
    one_clear_line(gotriage("check", "--core", text, "--pid", 1), 64, "--core")
    one_clear_line(gotriage("check", "--pid", 1, "--exe", text), 64, "--exe")
    one_clear_line(gotriage("record", "--core", whole, "-o", tmp_path / "r"), 64, "snapshot")


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["/bin/sleep", "600"])
    yield process
    process.kill()
    process.wait()
