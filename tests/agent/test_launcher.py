"""Two processes and their parent: who may do what, and who outlives whom. Real forks, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PRELUDE = """
import json, os, signal, sys, time
sys.path.insert(0, {root!r})
from gotriage.agent import launcher
from gotriage.agent.launcher import launch
from gotriage.records.stream import *
from gotriage.records.target import *
from gotriage.errors import *
from gotriage.host import Host
from tests.agent.fakes import row
from gotriage.agent.main import serve

SPEC = TargetSpec(kind="pid", value=str(os.getpid()))

def agent(read_fd, write_fd):
    return serve(SPEC, Host(), read_fd, write_fd, rows=[row("counting", "Counting")])

def say(**words):
    print(json.dumps(words), flush=True)

def status(pid="self"):
    lines = open(f"/proc/{{pid}}/status", errors="replace").read().splitlines()
    return dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)

def agent_pid(of=None):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{{pid}}/stat", errors="replace").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == (of or os.getppid()) and int(fields[3]) == int(pid):
            return int(pid)

LEFT = []

def until(link, wanted, seconds=20):
    end = time.monotonic() + seconds
    seen = []
    while time.monotonic() < end:
        while LEFT:
            seen.append(LEFT.pop(0))
            if wanted(seen[-1]):
                return seen[-1]
        some = link.poll(0.1)
        if some is None:
            break
        LEFT.extend(some)
    raise SystemExit("nothing like that came: " + " ".join(type(r).__name__ for r in seen))

def is_beat(record):
    return isinstance(record, Heartbeat)
"""


class Program:
    """A Python program around `launch` in a process of its own."""

    def __init__(self, body: str, **options) -> None:
        code = PRELUDE.format(root=str(ROOT)) + textwrap.dedent(body)
        environment = {**os.environ, **options.pop("env", {})}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
            **options,
        )

    def line(self) -> dict:
        """The next line that it says."""
        assert self.process.stdout
        text = self.process.stdout.readline()
        assert text, self.process.communicate()
        return json.loads(text)

    def end(self, seconds: float = 20) -> tuple[int, str, str]:
        """Wait for the end: status, output, errors."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


@pytest.fixture
def program():
    """Starts programs; what is left of their sessions is ended afterwards."""
    started: list[Program] = []

    def start(body: str, **options) -> Program:
        started.append(Program(body, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def gone(*pids: int, seconds: float = 5.0) -> bool:
    """Whether all of them end in time."""
    until = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_the_fronts_status_is_the_programs(program):
    one = program("""
        def front(link):
            until(link, is_beat)
            return 2
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    status, _, err = one.end()
    assert (status, err) == (2, "")


def test_an_error_of_the_front_is_its_own_and_the_parents_status(program):
    one = program("""
        def front(link):
            raise NotPermitted("no")
        try:
            sys.exit(launch(SPEC, front, agent=agent))
        except NotPermitted as error:
            sys.exit(error.exit_code)
    """)
    assert one.end()[0] == 77


def test_the_front_is_the_user_who_typed_the_command_for_good(program):
    one = program(
        """
        def front(link):
            until(link, is_beat)
            tried = []
            for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.seteuid(0), lambda: os.setgroups([0])):
                try:
                    call()
                    tried.append("root again")
                except PermissionError:
                    tried.append("refused")
            fds = {}
            for fd in range(3, 64):
                try:
                    fds[fd] = os.get_inheritable(fd)
                except OSError:
                    pass
            mine, it = status(), agent_pid()
            score = int(open("/proc/self/oom_score_adj").read())
            say(mine=mine, agent=status(it), tried=tried, fds=fds, score=score)
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
        """,
        env={"SUDO_UID": "65534", "SUDO_USER": "nobody"},
    )
    said = one.line()
    assert one.end()[0] == 0
    mine, agent = said["mine"], said["agent"]
    assert mine["Uid"].split() == ["65534"] * 4
    assert mine["Gid"].split() == ["65534"] * 4
    assert "0" not in mine["Groups"].split()
    assert int(mine["CapEff"], 16) == int(mine["CapPrm"], 16) == int(mine["CapInh"], 16) == 0
    assert mine["NoNewPrivs"] == "1"
    assert said["score"] == 900
    assert said["tried"] == ["refused"] * 4
    assert agent["Uid"].split() == ["0"] * 4
    assert not any(said["fds"].values())


def test_the_agent_has_no_terminal_no_folder_and_goes_first(program):
    one = program("""
        def front(link):
            until(link, is_beat)
            it = agent_pid()
            say(
                fds={fd: os.readlink(f"/proc/{it}/fd/{fd}") for fd in os.listdir(f"/proc/{it}/fd")},
                cwd=os.readlink(f"/proc/{it}/cwd"),
                umask=status(it)["Umask"],
                score=int(open(f"/proc/{it}/oom_score_adj").read()),
                mine=int(open("/proc/self/oom_score_adj").read()),
                nice=[os.getpriority(os.PRIO_PROCESS, int(tid)) for tid in os.listdir(f"/proc/{it}/task")],
                session=os.getsid(it) == it,
                same_session=os.getsid(it) == os.getsid(0),
            )
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    said = one.line()
    assert one.end()[0] == 0
    assert {said["fds"][fd] for fd in ("0", "1", "2")} == {"/dev/null"}
    kinds = [name.partition(":")[0] for fd, name in said["fds"].items() if fd not in ("0", "1", "2")]
    assert set(kinds) <= {"pipe", "anon_inode"}
    assert (said["cwd"], said["umask"]) == ("/", "0077")
    assert said["score"] == 1000
    assert 0 < said["mine"] < 1000
    assert set(said["nice"]) == {10}
    assert said["session"] and not said["same_session"]


def test_a_killed_agent_is_said_and_started_anew(program):
    one = program("""
        def front(link):
            until(link, is_beat)
            os.kill(agent_pid(), signal.SIGKILL)
            gap = until(link, lambda r: isinstance(r, Gap) and r.source == "agent")
            say(reason=gap.reason, lost=gap.lost, closed=gap.closed)
            closing = until(link, lambda r: isinstance(r, Gap) and r.source == "agent" and r.closed)
            event = until(link, lambda r: isinstance(r, Event))
            until(link, lambda r: isinstance(r, TargetState))
            until(link, is_beat)
            say(what=event.what, restarts=link.restarts)
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    said = one.line()
    assert "killed by SIGKILL" in said["reason"]
    assert not said["closed"]
    assert one.line() == {"what": "agent-restarted", "restarts": 1}
    assert one.end()[0] == 0


def test_an_agent_that_hangs_is_said_ended_and_started_anew(program):
    one = program("""
        from gotriage.session import link as link_room
        link_room.SILENCE = 2.0
        def front(link):
            until(link, is_beat)
            first = agent_pid()
            os.kill(first, signal.SIGSTOP)
            gap = until(link, lambda r: isinstance(r, Gap) and r.source == "agent")
            say(reason=gap.reason)
            until(link, lambda r: isinstance(r, Event) and r.what == "agent-restarted")
            until(link, is_beat)
            say(other=agent_pid() != first)
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    assert "has not answered for 2 s" in one.line()["reason"]
    assert one.line() == {"other": True}
    assert one.end()[0] == 0


def test_a_front_that_was_stopped_does_not_take_the_agent_for_hung(program):
    one = program("""
        from gotriage.session import link as link_room
        link_room.SILENCE = 1.5
        def front(link):
            until(link, is_beat)
            say(pid=os.getpid())
            end = time.monotonic() + 5
            gaps = []
            while time.monotonic() < end:
                gaps += [r for r in link.poll(0.1) if isinstance(r, Gap)]
            say(gaps=len(gaps))
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    pid = one.line()["pid"]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)
    # The parent stops with its front, as a shell expects of a job.
    assert Path(f"/proc/{one.process.pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0] == "T"
    os.kill(one.process.pid, signal.SIGCONT)
    assert one.line() == {"gaps": 0}
    assert one.end()[0] == 0


def test_an_agent_that_always_fails_is_given_up_in_one_line(program):
    one = program("""
        launcher.PAUSES = (0.01,)
        launcher.MOST_RESTARTS = 5
        def broken(read_fd, write_fd):
            os.abort()
        def front(link):
            while link.poll(0.1) is not None:
                pass
            return 0
        try:
            sys.exit(launch(SPEC, front, agent=broken))
        except GotriageError as error:
            say(error=str(error))
            sys.exit(error.exit_code)
    """)
    assert "killed by SIGABRT again and again" in one.line()["error"]
    assert one.end()[0] == 3


def test_a_target_that_is_not_there_is_an_error_in_the_front(program):
    one = program("""
        SPEC = TargetSpec(kind="pid", value="999999999")
        def front(link):
            while link.poll(0.1) is not None:
                pass
            return 0
        try:
            sys.exit(launch(SPEC, front))
        except GotriageError as error:
            say(error=str(error))
            sys.exit(error.exit_code)
    """)
    assert "999999999" in one.line()["error"]
    assert one.end()[0] == 3


LONG = """
    def front(link):
        helper = until(link, lambda r: isinstance(r, Event)).pid
        it = agent_pid()
        signal.signal(signal.SIGTERM, lambda *_: (say(restored=True), os._exit(0)))
        say(front=os.getpid(), agent=it, helper=helper)
        while True:
            try:
                link.poll(0.1)
            except GotriageError:
                time.sleep(0.1)  # the pipes close a moment before the signal comes
    def helped(read_fd, write_fd):
        import subprocess
        from gotriage.session.stream import encode
        from gotriage.host import clock
        helper = subprocess.Popen(["sleep", "60"], start_new_session=True)
        os.write(write_fd, encode(Header(at=clock.now())) + encode(Heartbeat(at=clock.now())))
        os.write(write_fd, encode(Event(at=clock.now(), what="helper", pid=helper.pid)))
        return agent(read_fd, write_fd)
    sys.exit(launch(SPEC, front, agent=helped))
"""


def test_when_the_parent_is_killed_nothing_stays_and_the_front_restores_the_terminal(program):
    one = program(LONG)
    said = one.line()
    one.process.kill()
    assert one.line() == {"restored": True}
    assert gone(said["front"], said["agent"], said["helper"])


def test_when_the_front_is_killed_nothing_stays(program):
    one = program(LONG)
    said = one.line()
    os.kill(said["front"], signal.SIGKILL)
    assert one.end()[0] == 128 + signal.SIGKILL
    assert gone(said["agent"], said["helper"])


def test_when_the_agent_is_killed_its_helpers_do_not_stay(program):
    one = program(LONG)
    said = one.line()
    os.kill(said["agent"], signal.SIGKILL)
    assert gone(said["agent"], said["helper"])
    assert alive(said["front"])
    one.process.terminate()
    assert one.line() == {"restored": True}
    assert one.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_to_the_parent_reach_the_front(program, number):
    one = program(f"""
        def front(link):
            got = []
            signal.signal({int(number)}, lambda n, _: got.append(n))
            until(link, is_beat)
            say(ready=True)
            while not got:
                link.poll(0.1)
            return 100 + got[0]
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    one.line()
    one.process.send_signal(number)
    assert one.end()[0] == 100 + number


def test_a_keystroke_signal_is_the_fronts_alone(program):
    one = program("""
        def front(link):
            got = []
            signal.signal(signal.SIGINT, lambda n, _: got.append(n))
            until(link, is_beat)
            say(ready=True)
            while not got:
                link.poll(0.1)
            until(link, is_beat)
            return 7
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    one.line()
    os.killpg(one.process.pid, signal.SIGINT)
    assert one.end()[0] == 7


def test_an_agent_of_another_version_is_said_and_works(program):
    one = program("""
        import gotriage.agent.main
        def other(read_fd, write_fd):
            gotriage.agent.main.__version__ = "9.9.9"
            return agent(read_fd, write_fd)
        def front(link):
            gap = until(link, lambda r: isinstance(r, Gap) and r.source == "agent.version")
            until(link, is_beat)
            say(reason=gap.reason, remedy=gap.remedy)
            return 0
        sys.exit(launch(SPEC, front, agent=other))
    """)
    said = one.line()
    assert "9.9.9" in said["reason"]
    assert "same version" in said["remedy"]
    assert one.end()[0] == 0


def test_an_agent_of_another_major_version_is_one_clear_line(program):
    one = program("""
        def other(read_fd, write_fd):
            os.write(write_fd, b'{"kind":"header","at":"2026-11-23T20:00:00Z","schema":"2.0","version":"9.9"}\\n')
            time.sleep(60)
        def front(link):
            while link.poll(0.1) is not None:
                pass
        try:
            sys.exit(launch(SPEC, front, agent=other))
        except GotriageError as error:
            say(error=str(error))
            sys.exit(error.exit_code)
    """)
    assert "stream version 2.0" in one.line()["error"]
    assert one.end()[0] == 69


def test_when_no_process_can_be_started_it_is_one_clear_line(program):
    one = program("""
        import resource
        os.setresuid(65533, 65533, 65533)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try:
            launch(SPEC, lambda link: 0, agent=agent)
        except GotriageError as error:
            say(error=str(error))
            sys.exit(error.exit_code)
    """)
    assert "limit of processes" in one.line()["error"]
    assert one.end()[0] == 69


def test_an_error_of_the_agents_own_is_said_and_it_is_started_anew(program):
    one = program("""
        launcher.PAUSES = (0.01,)
        def broken(read_fd, write_fd):
            secret = "hunter2"
            raise ZeroDivisionError(secret)
        def front(link):
            error = until(link, lambda r: isinstance(r, Gap) and r.source == "agent.error")
            gap = until(link, lambda r: isinstance(r, Gap) and r.source == "agent")
            say(error=error.reason, gap=gap.reason)
            return 0
        sys.exit(launch(SPEC, front, agent=broken))
    """)
    said = one.line()
    assert said["error"].startswith("internal error of the agent: ZeroDivisionError")
    assert "hunter2" not in said["error"]
    assert "failed (status 70)" in said["gap"]
    assert one.end()[0] == 0


def test_what_the_front_started_is_not_taken_for_the_agents(program):
    one = program("""
        import subprocess
        def front(link):
            until(link, is_beat)
            null = subprocess.DEVNULL
            mine = subprocess.Popen(["sleep", "30"], stdout=null, stderr=null)
            orphan = int(subprocess.check_output("sleep 30 >/dev/null 2>&1 & echo $!", shell=True))
            os.kill(agent_pid(), signal.SIGKILL)
            until(link, lambda r: isinstance(r, Event) and r.what == "agent-restarted")
            say(mine=mine.pid, orphan=orphan, alive=mine.poll() is None)
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
    """)
    said = one.line()
    assert one.end()[0] == 0
    try:
        assert said["alive"]
        assert alive(said["mine"])
        assert alive(said["orphan"])
    finally:
        for pid in (said["mine"], said["orphan"]):
            os.kill(pid, signal.SIGKILL)


def test_an_agent_that_grew_too_large_starts_anew(program):
    one = program("""
        import gotriage.agent.main
        def greedy(read_fd, write_fd):
            gotriage.agent.main.MOST_MEMORY = 1 << 20
            return agent(read_fd, write_fd)
        def front(link):
            gap = until(link, lambda r: isinstance(r, Gap) and r.source == "agent")
            until(link, lambda r: isinstance(r, Event) and r.what == "agent-restarted")
            say(reason=gap.reason)
            return 0
        sys.exit(launch(SPEC, front, agent=greedy))
    """)
    assert "has grown to" in one.line()["reason"]
    assert one.end()[0] == 0


def test_the_front_asks_for_a_shell_with_one_byte_and_hears_of_its_end(program):
    """It is of the launcher's own target, and the front goes on hearing the agent meanwhile."""
    one = program(
        """
        import threading
        from gotriage.session import control
        def front(link):
            threading.Thread(target=lambda: [link.poll(0.1) for _ in range(600)], daemon=True).start()
            ended = link.shell(control.SHELL)
            say(what=ended.what, code=ended.code, text=ended.text)
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
        """,
        stdin=subprocess.PIPE,
    )
    out, err = one.process.communicate("echo from $((40 + 2)) >&2; exit 9\n", timeout=60)
    assert json.loads(out) == {"what": "shell", "code": 9, "text": ""}
    assert "from 42" in err
    assert one.process.returncode == 0


def test_behind_sudo_a_shell_is_not_to_be_had_without_it(program):
    """SUDO_UID names somebody whom sudo does not know: it refuses, and nothing runs."""
    one = program(
        """
        import threading
        from gotriage.session import control
        def front(link):
            threading.Thread(target=lambda: [link.poll(0.1) for _ in range(600)], daemon=True).start()
            say(code=link.shell(control.VIEW).code, uid=os.geteuid())
            return 0
        sys.exit(launch(SPEC, front, agent=agent))
        """,
        stdin=subprocess.PIPE,
        env={"SUDO_UID": "65534"},
    )
    out, err = one.process.communicate("echo entered >&2\n", timeout=60)
    said = json.loads(out)
    assert said["uid"] == 65534
    assert said["code"] != 0
    assert "entered" not in err
