"""`gotriage shell`: what is entered, what is left as it was, what traps in the target do (nothing)."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gotriage.host import enter
from gotriage.target.model import Process

from tests.lab.process import wait_until
from tests.lab.toolchain import build
from tests.real.targets import target_of
from tests.real.terminal import Terminal

pytestmark = pytest.mark.real
GOTRIAGE = Path(sys.executable).with_name("gotriage")
UP = "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()"
OWN = ("unshare", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child")


@pytest.fixture
def process():
    started = []

    def start(*wrapper, command=(sys.executable, "-c", UP)):
        child = subprocess.Popen([*wrapper, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(child)
        assert child.stdout.read(2) == b"up"
        if "--fork" not in wrapper:
            return child.pid
        return int(Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text())

    yield start
    for child in started:
        child.stdin.close()
        child.kill()
        child.wait()


def shell(*words, before=()):
    command = [*before, str(GOTRIAGE), "shell", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_a_command_is_in_the_network_and_sees_the_processes(process):
    pid = process(*OWN)
    done = shell("--pid", pid, "--", "ip", "-o", "link")
    assert done.stdout.count("\n") == 1
    assert ": lo:" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert shell("--pid", pid, "--", "cat", "/proc/1/cmdline").stdout.startswith(sys.executable)
    assert "/proc/2/" not in shell("--pid", pid, "--ns", "net", "--", "readlink", "/proc/1/ns/pid").stdout


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
    ],
    ids=["true", "exit 7", "killed", "not there", "no program"],
)
@pytest.mark.parametrize("kinds", ["net,pid", "all"])
def test_the_exit_status_is_the_commands(process, kinds, words, status):
    done = shell("--pid", process(*OWN), "--ns", kinds, "--", *words)
    assert done.returncode == status
    assert done.stderr.count("\n") == (1 if status in (126, 127) else 0)


def test_only_what_was_asked_for_is_joined(process):
    pid = process(*OWN)
    seen = shell("--pid", pid, "--ns", "uts", "--", "readlink", "/proc/self/ns/net", "/proc/self/ns/uts").stdout.split()
    assert seen == [os.readlink("/proc/self/ns/net"), os.readlink(f"/proc/{pid}/ns/uts")]


def test_a_plain_process_needs_no_root(process):
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    pid = process(*nobody)
    assert shell("--pid", pid, "--", "id", "-u", before=nobody).stdout == "65534\n"
    refused = shell("--pid", process(*OWN), "--", "true", before=nobody)
    assert refused.returncode == 77
    assert refused.stderr.count("\n") == 1
    assert "sudo" in refused.stderr


def test_without_root_one_enters_a_namespace_of_users_of_ones_own(process):
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    pid = process(*nobody, *OWN, "--user", "--map-root-user")
    seen = shell("--pid", pid, "--", "sh", "-c", "id -u; cat /proc/1/cmdline; cat /proc/net/dev", before=nobody)
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.startswith(f"0\n{sys.executable}")
    assert seen.stdout.count(":") == 1
    assert shell("--pid", pid, "--ns", "net", "--", "true", before=nobody).returncode == 77


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--ns", "net"], 64), (["--core", "/x"], 64), (["--pid", "1", "--ns", "nett"], 64), (["--pid", "999999999"], 3)],
)
def test_wrong_use_is_one_line(words, status):
    done = shell(*words)
    assert (done.returncode, done.stderr.count("\n")) == (status, 1)


# -- the target's files


@pytest.fixture
def trapped(tmp_path, process):
    """A process whose root is a folder full of traps; the folder and the PID."""
    root = tmp_path / "root"
    for name in ("bin", "etc", "lib", "proc", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy(build("svc"), root / "bin/svc")
    trap = "#!/bin/svc\n"
    for name in ("bin/sh", "bin/ls", "bin/busybox", "lib/libnss_files.so.2", "lib/libnss_dns.so.2"):
        (root / name).write_text(trap)
        (root / name).chmod(0o4755)
    (root / "etc/nsswitch.conf").write_text("passwd: evil files\nhosts: evil dns\n")
    (root / "etc/secret").symlink_to("/etc/shadow")
    (root / "etc/up").symlink_to("../../../../../../../../etc/shadow")
    (root / "etc/loop").symlink_to("loop")
    os.mkfifo(root / "etc/fifo")
    os.mknod(root / "dev/null", 0o020666, os.makedev(1, 3))
    code = f"import os, sys; os.chroot({str(root)!r}); os.chdir('/');" + UP
    return root, process(*OWN, "--mount", command=(sys.executable, "-c", code))


def tree_of(root):
    """Everything about all files below."""
    found = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (facts.st_mode, facts.st_mtime_ns, facts.st_ctime_ns, hashlib.sha256(text).digest())
    return found


def test_its_files_are_seen_and_nothing_of_it_is_written_or_run(trapped):
    root, pid = trapped
    before, mounts = tree_of(root), Path("/proc/self/mountinfo").read_text()

    def inside(*words):
        return shell("--pid", pid, "--ns", "all", "--", *words)

    assert set(inside("ls", "/target").stdout.split()) == {"bin", "dev", "etc", "lib", "proc"}
    assert "root" not in inside("cat", "/target/etc/secret").stdout
    assert "root" not in inside("cat", "/target/etc/up").stdout
    assert inside("cat", "/etc/nsswitch.conf").stdout.startswith("passwd: evil")
    for program in ("/target/bin/svc", "/target/bin/sh", "/target/bin/busybox"):
        assert inside(program).returncode == 126
        assert inside("sh", "-c", program).returncode == 126
    for command in ("touch /target/x", "rm /target/etc/fifo", "chmod 700 /target/bin", "mkdir /target/etc/y",
                    "echo x >/target/dev/null", "echo x >>/etc/nsswitch.conf"):  # fmt: skip
        assert inside("sh", "-c", command).returncode != 0, command
    inside("id")
    inside("nslookup", "localhost", "127.0.0.1:9")
    assert inside("sh", "-c", "ls /target/../etc/secret /usr /lib 2>&1").stdout.count("No such file") == 3
    assert tree_of(root) == before
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_a_scratch_container_has_tools(docker):
    docker.run("test-shell", docker.image(build("svc")), "-tick=1s", options=("--read-only", "--cap-drop=ALL"))
    words = ("--root-pid", docker.lab.pid, "--container", "test-shell")
    seen = shell(*words, "--", "cat", "/proc/1/cmdline")
    assert seen.stdout.startswith("/svc\0"), seen.stderr
    assert shell(*words, "--", "hostname").stdout.strip() == docker.inspect("test-shell")["Config"]["Hostname"]
    files = shell(*words, "--ns", "all", "--", "sh", "-c", "ls /target; cat /proc/1/cmdline; id -u")
    assert "svc\n" in files.stdout
    assert "/svc\0" in files.stdout
    docker.lab.run("/usr/bin/docker", "stop", "-t", "0", "test-shell")
    gone = shell(*words, "--", "true")
    assert (gone.returncode, gone.stderr.count("\n")) == (3, 1)


def test_a_container_with_a_user_namespace(podman):
    podman.run("test-users", podman.image(build("svc")), "-tick=1s", options=("--uidmap=0:100000:65536",))
    words = ("--root-pid", podman.lab.pid, "--container", "test-users", "--ns", "all", "--")
    seen = shell(*words, "sh", "-c", "cat /proc/self/uid_map; id -u; ls /target")
    assert seen.stdout.split()[:4] == ["0", "100000", "65536", "0"], seen.stderr
    assert "svc" in seen.stdout


# -- ends


def test_the_target_ends_while_it_is_entered(process):
    pid = process(*OWN)
    words = [str(GOTRIAGE), "shell", "--pid", str(pid), "--", "sh", "-c", "echo up; exec sleep 1000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as entered:
        assert entered.stdout.read(2) == b"up"
        os.kill(pid, signal.SIGKILL)
        assert entered.wait(20) == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_command_ends_with_gotriage(process, number):
    words = [str(GOTRIAGE), "shell", "--pid", str(process(*OWN)), "--ns", "net", "--"]
    with subprocess.Popen([*words, "sh", "-c", "echo $$; exec sleep 1000"], stdout=subprocess.PIPE) as entered:
        inner = int(entered.stdout.readline())
        entered.send_signal(number)
        entered.wait(20)
        wait_until(lambda: not os.path.exists(f"/proc/{inner}"))


def test_a_shell_has_the_terminal_with_jobs_and_gives_it_back(process):
    words = [str(GOTRIAGE), "shell", "--pid", str(process(*OWN))]
    outer = ["sh", "-c", f"{' '.join(words)}; echo status=$?; stty -a | grep -o '.echo ' | head -1; echo end"]
    with Terminal(outer) as terminal:
        terminal.wait_for("exit leads back")
        terminal.press("sleep 1000\n")
        terminal.wait_for("sleep 1000")
        time.sleep(0.3)  # the shell has to start it
        terminal.press("\x1a")
        terminal.wait_for("Stopped")
        terminal.press("kill %1; stty -echo; exit 5\n")
        terminal.wait_for("status=5")
        terminal.wait_for("end")
        assert "-echo" not in terminal.text.partition("status=5")[2]


def test_one_that_is_another_by_now_is_not_entered(process):
    pid = process(*OWN)
    entry = enter.Entry(pid, lambda: False, enter.JOINED, "/bin/true", ["true"], {})
    with pytest.raises(Exception, match="has ended"):
        enter.run(entry)


def around(times, process):
    """Enter and leave so often; what this process holds before and after, and the namespaces of the machine."""
    pid = process(*OWN, "--mount")
    main = target_of(pid).main
    assert isinstance(main, Process)
    given = {"PATH": "/bin"}
    simple = enter.Entry(pid, main.alive, enter.JOINED, "/bin/true", ["true"], given)
    view = enter.Entry(pid, main.alive, enter.KINDS, "/bin/true", ["true"], given)

    def held():
        kinds = [os.readlink(f"/proc/self/ns/{kind}") for kind in sorted(os.listdir("/proc/self/ns"))]
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return sorted(os.listdir("/proc/self/fd")), kinds, children, Path("/proc/self/mountinfo").read_text()

    assert enter.run(simple) == enter.run(view) == 0
    before, theirs = held(), Path(f"/proc/{pid}/mountinfo").read_text()
    for number in range(times):
        assert enter.run(view if number % 4 == 0 else simple) == 0
    assert held() == before
    assert Path(f"/proc/{pid}/mountinfo").read_text() == theirs


def test_entering_and_leaving_leaves_nothing(process):
    around(20, process)


@pytest.mark.slow
def test_entering_and_leaving_a_thousand_times_leaves_nothing(process):
    around(1000, process)


# -- from the screens


def at_shell(terminal, keys="\r"):
    """Into a shell by `!`, from the screens."""
    terminal.wait_for("LIVE")
    terminal.press("I")
    terminal.wait_for("OTHERS")
    terminal.press("!")
    terminal.wait_for("this machine's tools")
    terminal.press(keys)
    terminal.wait_for("exit leads back")


def test_a_key_leads_from_the_screens_into_a_shell_and_back(process):
    with Terminal([str(GOTRIAGE), "--pid", str(process(*OWN))]) as terminal:
        at_shell(terminal)
        terminal.press("sh -c 'readlink /proc/1/exe; exec sleep 1000'\n")
        terminal.wait_for(os.path.realpath(sys.executable))
        terminal.press("\x03")
        terminal.press("exit 5\n")
        terminal.wait_for("the shell ended with status 5")
        terminal.output = ""
        terminal.press("4")
        terminal.wait_for("RLIMIT_NOFILE")
        terminal.press("q")
        assert terminal.end() == 0
        assert "internal error" not in terminal.text


def test_the_targets_files_from_the_screens(process):
    with Terminal([str(GOTRIAGE), "--pid", str(process(*OWN))]) as terminal:
        at_shell(terminal, "f\r")
        terminal.wait_for("/target #")
        terminal.press("echo in$((40+2))side; exit 0\n")
        terminal.wait_for("in42side")
        terminal.wait_for("the shell ended with status 0")
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.restored


def test_gotriage_ends_with_a_signal_also_from_within_a_shell(process):
    with Terminal([str(GOTRIAGE), "--pid", str(process(*OWN))]) as terminal:
        at_shell(terminal)
        terminal.press("echo me=$PPID-$$\n")
        terminal.wait_for("me=")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 143
        assert terminal.restored
