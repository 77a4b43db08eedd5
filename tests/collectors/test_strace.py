"""Lines of strace of several versions: the same program, the same records."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gotriage.collectors.strace.lines import parse_line, parse_where
from gotriage.collectors.strace.log import ROWS, Log
from gotriage.collectors.strace.tracer import parse_options
from gotriage.errors import UsageError

FIXTURES = Path(__file__).parents[1] / "fixtures/strace"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())
ALL = pytest.mark.parametrize("version", VERSIONS)
FOLDER = "/srv/app/"
FAILED = {
    ("openat", "ENOENT", "missing/file"),
    ("access", "ENOTDIR", "/etc/shadow/x"),
    ("openat", "ENOTDIR", "/proc/self/mem/x"),
    ("mkdir", "EEXIST", "/"),
    ("write", "ENOSPC", "/dev/full"),
    ("connect", "ECONNREFUSED", "127.0.0.1:9"),
    ("connect", "ECONNREFUSED", "[::1]:9"),
    ("connect", "ENOENT", '/nonexistent/s"ock'),
    ("syscall_0x3e8", "ENOSYS", ""),
}
NAMES = ["plain", "a) = -1 EACCES (Permission denied) <0.1>", 'b"c\\d␊␛[31m', "<e> ä"]


def record(*texts, log=None):
    log = log or Log()
    for text in texts:
        log.feed(text if isinstance(text, bytes) else text.encode())
    return log.record(datetime.now(UTC), 1.0)


def of(version, name="whole"):
    return (FIXTURES / version / name).read_bytes()


def calls(found, name, tid=None):
    return [row for row in found.rows if row.call == name and tid in (None, row.tid)]


@ALL
def test_every_line_is_understood(version):
    for name in ("whole", "terminal", "letgo"):
        found = record(of(version, name))
        assert (found.unread, found.note) == (0, "")


@ALL
def test_failures_are_told_with_their_place(version):
    found = record(of(version))
    main = found.rows[0].tid
    failures = {
        (row.call, row.error, row.where.removeprefix(FOLDER)) for row in found.rows if row.error and row.tid == main
    }
    usual = {("accept", "EAGAIN"), ("nanosleep", "ERESTART"), ("rt_sigreturn", "EINTR")}
    assert {row for row in failures if row[:2] not in usual} == FAILED
    assert {(row.call, row.error) for row in found.failures if row.usual} == {("accept", "EAGAIN")}
    assert [row.words for row in found.failures if row.call == "write"] == ["No space left on device"]


@ALL
def test_names_that_look_like_results_are_names(version):
    found = record(of(version))
    main = found.rows[0].tid
    opened = [row for row in calls(found, "openat", main) if "O_CREAT" in row.arguments]
    assert [row.where.removeprefix(FOLDER) for row in opened] == NAMES
    assert all(row.result.startswith("4</srv/app/") and not row.error for row in opened)
    written = calls(found, "writev", main)
    assert [(row.where, row.result) for row in written] == [(FOLDER + name, "8") for name in NAMES]
    assert all("\x1b" not in row.arguments + row.result for row in found.rows)


@ALL
def test_what_other_threads_lines_come_between_is_one_call(version):
    found = record(of(version))
    first, second, *_ = calls(found, "read", found.rows[0].tid)
    for read in (first, second):
        assert read.arguments.endswith(r'"\1\0\0\0\0\0\0\0", 8')
        assert (read.result, read.where) == ("8", "anon_inode:[eventfd]")
        assert read.seconds >= 0.04
        assert read.began_at.timestamp() > 1e9
    assert found.threads == 4


@ALL
def test_signals_ends_and_calls_without_a_result(version):
    found = record(of(version))
    signals = {(row.signal, row.code): row for row in found.signals}
    assert signals["SIGUSR1", "SI_USER"].sender > 0
    assert signals["SIGCHLD", "CLD_EXITED"].sender is None
    assert sorted(text.partition(": ")[2] for text in found.ends) == [
        "exited with 0", "exited with 3", "killed by SIGKILL", "killed by SIGKILL",
    ]  # fmt: skip
    assert {row.call for row in found.rows if row.result == "?"} == {"pause", "exit_group", "nanosleep"}
    assert not found.inside
    (interrupted,) = calls(found, "nanosleep")
    assert (interrupted.error, interrupted.result) == ("ERESTART", "?")
    assert found.rows[0].call in ("restart_syscall", "clock_nanosleep")


@ALL
def test_the_same_on_a_terminal(version):
    found = record(of(version, "terminal"))
    whole = record(of(version))
    for name in ("connect", "close", "kill"):
        assert sum(row.count for row in found.sums if row.call == name) == sum(
            row.count for row in whole.sums if row.call == name
        )
    assert len(found.ends) == 4


@ALL
def test_where_it_let_go_calls_are_unfinished(version):
    found = record(of(version, "letgo"))
    assert {row.result for row in found.inside} == {""}


@ALL
def test_pieces_of_any_length_make_the_same(version):
    data, whole = of(version), record(of(version))
    dice = random.Random(version)
    for _ in range(5):
        log, at = Log(), 0
        while at < len(data):
            size = dice.choice((1, 7, 100, 5000))
            log.feed(data[at : at + size])
            at += size
        assert log.record(whole.at, 1.0) == whole


def test_sums_are_those_of_all_calls():
    found = record(*(f'1 17{at:08}.000000 read(3</a>, "x", 9) = 1 <0.000{at % 10}00>\n' for at in range(5000)))
    assert (found.count, len(found.rows), found.left_out) == (5000, ROWS, 5000 - ROWS)
    (total,) = found.sums
    assert (total.count, total.errors, total.longest) == (5000, 0, 0.0009)
    assert total.seconds == pytest.approx(500 * sum(range(10)) * 1e-4)
    assert len(found.slowest) == 20
    assert {row.seconds for row in found.slowest} == {0.0009}


OTHERS = {
    "a resumed call until 4.26": (
        ["[pid 11653] futex(0x7fc730, FUTEX_WAKE, 1 <unfinished ...>", "[pid 11653] <... futex resumed> )       = 0"],
        ("futex", "0x7fc730, FUTEX_WAKE, 1", "0", "", ""),
    ),
    "a resumed call with an error": (
        ["7113  00:09:47.789830 futex(0x7f, FUTEX_WAIT_PRIVATE, 88, NULL <unfinished ...>",
         "7113  <... futex resumed> ) = -1 EAGAIN (Resource temporarily unavailable) <0.000017>"],
        ("futex", "0x7f, FUTEX_WAIT_PRIVATE, 88, NULL", "-1", "EAGAIN", ""),
    ),
    "the number of an interruption": (
        ["7 read(3</a>, <unfinished #12 ...>", '7 <... read resumed #12>"b", 9) = 1 <0.1>'],
        ("read", '3</a>, "b", 9', "1", "", "/a"),
    ),
    "interrupted by a signal": (
        ["6637  <... futex resumed> )             = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"],
        ("futex", "… ", "?", "ERESTART", ""),
    ),
    "a Unix socket until 4.2x": (
        ['823 write(25<UNIX:[3578806,"/var/a.socket"]>, "x", 1) = 1 <0.1>'],
        ("write", '25<UNIX:[3578806,"/var/a.socket"]>, "x", 1', "1", "", 'UNIX:[3578806,"/var/a.socket"]'),
    ),
    "brackets in a path before 4.22": (
        ['1 read(3</tmp/a<b>c>, "x", 1) = 1 <0.1>'],
        ("read", '3</tmp/a<b>c>, "x", 1', "1", "", "/tmp/a<b>c"),
    ),
    "a deleted file until 5.18": (
        ['1 read(3</tmp/a (deleted)>, "x", 1) = 1 <0.1>'],
        ("read", '3</tmp/a (deleted)>, "x", 1', "1", "", "/tmp/a (deleted)"),
    ),
    "AF_LOCAL until 4.20": (
        ['1 connect(3, {sa_family=AF_LOCAL, sun_path=@"/tmp/X0"}, 110) = -1 ECONNREFUSED (Connection refused)'],
        ("connect", '3, {sa_family=AF_LOCAL, sun_path=@"/tmp/X0"}, 110', "-1", "ECONNREFUSED", "@/tmp/X0"),
    ),
    "an address until 4.2x": (
        ['1 connect(3, {sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, "fe80::1", &sin6_addr), '
         "sin6_flowinfo=htonl(0), sin6_scope_id=0}, 28) = 0"],
        ("connect", '3, {sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, "fe80::1", &sin6_addr), '
         "sin6_flowinfo=htonl(0), sin6_scope_id=0}, 28", "0", "", "[fe80::1]:53"),
    ),
    "unavailable": (["16820 ????( <unavailable>)= ? <unavailable>"], ("????", " <unavailable>", "?", "", "")),
    "ended in the call": (["1 exit_group(0 <unfinished ...>) = ?"], ("exit_group", "0", "?", "", "")),
    "a result in words": (
        ["1 poll([{fd=3, events=POLLIN}], 1, 10) = 0 (Timeout) <0.01>"],
        ("poll", "[{fd=3, events=POLLIN}], 1, 10", "0", "", ""),
    ),
    "a shift": (["1 prctl(PR_X, 1<<3|1<<5, 4</a>) = 0 <0.1>"], ("prctl", "PR_X, 1<<3|1<<5, 4</a>", "0", "", "")),
    "a hexadecimal result": (
        ["1 mmap(NULL, 5</a>, 0) = 0x7f00 (flags X) <0.1>"], ("mmap", "NULL, 5</a>, 0", "0x7f00", "", ""),
    ),
    "an injected error": (
        ["1 close(3) = -1 EIO (Input/output error) (INJECTED) <0.1>"], ("close", "3", "-1", "EIO", ""),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_lines_of_other_versions(name):
    lines, expected = OTHERS[name]
    found = record("".join(f"{line}\n" for line in lines))
    (row,) = found.rows
    assert found.unread == 0
    call, arguments, *rest = expected
    assert row.call == call
    assert arguments.startswith("… ") or row.arguments.strip() == arguments.strip()
    assert [row.result, row.error, row.where] == rest


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("strace: Process 2671 attached with 2 threads", "note"),
        ("Process 2671 detached", "note"),
        (" <detached ...>", "note"),
        ("[ Process PID=1 runs in 32 bit mode. ]", "note"),
        ("1 --- SIGCHLD (Child exited) @ 0 (0) ---", "signal"),
        ("1 --- stopped by SIGSTOP ---", "signal"),
        ("1 +++ superseded by execve in pid 12 +++", "ended"),
        ("1 ???( <detached ...>", "left"),
        ("1 1700000000.000001 epoll_wait(14 <detached ...>", "left"),
        ("1 read(3</a>, strace: Process 12 attached", "begun"),
        ("whatever", "unread"),
        ("", "unread"),
    ],
)
def test_what_is_no_call(line, kind):
    assert parse_line(line).kind == kind


HOSTILE = [
    "read(" + "1<" * 8000,
    "read(" + ")  = " * 3000,
    "read(" + "<" * 16000 + ") = 1",
    'read(3</a>, "' + '\\"' * 7000,
    "read(" + "<->" * 5000 + ") = 0 <0.1",
    "read() = 1" + " (" * 7000,
    "read() = -1 EA" + " (x" * 5000 + ")" * 5000,
    "1 " * 8000,
    "[pid 1" + "<" * 9000,
    "<... read resumed>" + '"' * 9000,
    "--- SIGCHLD {" + "si_pid=" * 2000 + "} ---",
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_lines_end_soon(line):
    record(f"{line}\n", f"1 {line}\n", f"1 1.5 {line}\n")
    parse_where("openat", line)
    parse_where("connect", line)


def test_noise_is_no_error():
    dice = random.Random(1)
    data = bytearray(b"".join(of(version) for version in VERSIONS))
    for _ in range(300):
        data[dice.randrange(len(data))] = dice.randrange(256)
    found = record(bytes(data))
    assert found.count > 100
    texts = [text for row in found.rows for text in (row.call, row.arguments, row.result, row.words, row.where)]
    assert all(text.isprintable() for text in texts)


def test_all_is_bounded():
    log = Log()
    for at in range(3000):
        log.feed(f'{at} name{at % 900}("/p{at}") = -1 ENOENT (No) <0.1>\n{at} --- SIG{at} {{}} ---\n'.encode())
        log.feed(f"{at} +++ exited with {at} +++\n{at} x{at}( <unfinished ...>\n".encode())
    found = record(log=log)
    assert len(found.sums) <= 601
    assert max(len(found.failures), len(found.signals), len(found.ends), len(found.inside)) <= 201
    assert sum(row.count for row in found.sums) == sum(row.count for row in found.failures) == 3000


def test_options():
    assert parse_options({}) == ("", 80, 3.0)
    assert parse_options({"calls": "openat, connect", "size": "10", "seconds": "99"}) == ("openat,connect", 10, 30.0)
    assert parse_options({"calls": "!futex,%file"})[0] == "!futex,%file"
    for bad in ({"calls": "a;b"}, {"calls": "/x"}, {"calls": "-o"}, {"size": "x"}, {"size": "99999"}, {"what": "x"}):
        with pytest.raises(UsageError):
            parse_options(bad)
