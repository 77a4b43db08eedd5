"""What probes see, made of raw events: pairs, words, names; hostile bytes; programs of the user's that are refused."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime

import pytest
from gotriage.collectors.probes import by_bcc, by_bpftrace, by_libbpf, by_tracefs, choice, dns, own, totals, words
from gotriage.collectors.probes.events import Events
from gotriage.collectors.probes.raw import EVENT, Raw, Total, exec_text, parse_event
from gotriage.errors import UsageError
from gotriage.host import scripts
from gotriage.host.bpftrace import complaint, parse_line
from gotriage.host.callnames import call_names
from gotriage.host.proc import Mapping
from gotriage.host.tracefs import Format
from gotriage.probes import library
from gotriage.probes.library import BY_ID, PROBES

SECOND = 1_000_000_000
QUERY = b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\5hello\4test\0\0\1\0\1"
ANSWER = b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0\5hello\4test\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\1\2\3"


class Look:
    """Nothing is known elsewhere but the functions at two addresses."""

    def wall(self, at):
        return datetime.fromtimestamp(at / 1e9, UTC)

    def frames(self, pcs):
        return [{7: ("os/exec.(*Cmd).Run",), 8: ("main.hook",)}.get(pc, ()) for pc in pcs]

    def caller(self, stack):
        return next((name for name in stack if name.startswith("main.")), "")

    def path(self, pid, fd, name):
        return name


def told(*raws):
    events = Events(Look())
    return [event for raw in raws for event in events.feed(raw)]


def started(tgid, at, *argv, stack=(7, 8), **more):
    text = exec_text(b"/bin/" + argv[0], argv, stack)
    return Raw(library.EXECED, at, tgid=tgid, text=text, numbers=(sum(len(word) + 1 for word in argv), 0, 0, 0), **more)


def test_a_program_is_one_event_from_its_start_to_its_end():
    begin, end = told(
        started(9, SECOND, b"bash", b"-c", b"exit 3", goid=4),
        Raw(library.EXITED, 2 * SECOND, SECOND, result=3 << 8, tgid=9),
    )
    assert (begin.number, begin.at) == (end.number, end.at)
    assert (begin.what, begin.result, begin.goroutine, begin.by) == ("bash -c 'exit 3'", "", 4, "main.hook")
    assert (end.result, end.failed, end.took, end.stack) == ("exit 3", True, 1.0, ("os/exec.(*Cmd).Run", "main.hook"))


def test_a_program_that_becomes_another_ends():
    first, before, second = told(started(9, SECOND, b"sh"), started(9, 3 * SECOND, b"ls"))
    assert (before.number, before.result, before.took, second.what) == (first.number, "became ls", 2.0, "ls")


def test_arguments_are_masked_made_harmless_and_marked_when_cut():
    word = b"a\x1b[31m\n"
    (event,) = told(started(9, 0, b"curl", b"--password", b"hunter2", word)._replace(numbers=(9000, 0, 0, 0)))
    assert "hunter2" not in event.what
    assert "\x1b" not in event.what and "\n" not in event.what
    assert event.what.endswith("…")


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, ("exit 0", False)), (9, ("SIGKILL", True)), (139, ("SIGSEGV (core)", True)), (-1, ("killed", True))],
)
def test_ends_in_words(code, said):
    assert words.end_words(code) == said


def test_a_question_and_its_answer_are_one_event():
    ask = Raw(library.ASKED, SECOND, tgid=9, flags=2, numbers=(5, 0x0100007F, 0, 0), text=QUERY)
    asked, answered = told(ask, ask._replace(kind=library.ANSWERED, at=SECOND + 20_000_000, text=ANSWER))
    assert (asked.what, asked.result, asked.by) == ("hello.test A", "", "server 127.0.0.1")
    assert (answered.number, answered.result, answered.detail, answered.took) == (
        asked.number,
        "NOERROR",
        "10.1.2.3",
        0.02,
    )


def test_a_question_without_an_answer_is_told():
    events = Events(Look())
    list(events.feed(Raw(library.ASKED, SECOND, tgid=9, text=QUERY)))
    assert list(events.late(2 * SECOND)) == []
    (event,) = events.late(7 * SECOND)
    assert (event.result, event.failed) == ("no answer", True)
    assert list(events.late(8 * SECOND)) == []


def test_dns_of_strangers_ends():
    assert dns.parse(b"") is None
    assert dns.parse(QUERY[:12] + b"\xc0\x0c\0\1\0\1") is None  # a name that leads to itself
    for at in range(len(ANSWER)):
        dns.parse(ANSWER[:at])
        dns.parse(ANSWER[:at] + bytes([ANSWER[at] ^ 0xFF]) + ANSWER[at + 1 :])
    assert dns.parse(len(QUERY).to_bytes(2, "big") + QUERY).name == "hello.test"  # over TCP


def test_connections_signals_and_panics_in_words():
    ends = (0, 0x0100007F, 0, 80 << 16 | 4000)
    refused, signal, panic = told(
        Raw(library.CONNECTED, 0, result=-111, flags=2, numbers=ends),
        Raw(library.SIGNALLED, 0, tgid=9, other=5, comm=b"kill", numbers=(15, 0, 1, 0)),
        Raw(library.PANICKED, 0, numbers=(1, 8, 25, 0), text=b"\x01\x02\x03"),
    )
    assert (refused.what, refused.result, refused.failed) == ("127.0.0.1:80", "ECONNREFUSED", True)
    assert (signal.what, signal.by, signal.result) == ("SIGTERM", "kill [5]", "delivered")
    assert (panic.what, panic.by) == ("a struct", "main.hook")  # what is no text is not shown as one
    assert words.address(10, 0, 1 << 56, 53) == "[::1]:53"


def test_events_of_the_kernel_are_read_to_their_length():
    head = bytearray(EVENT.itemsize)
    struct.pack_into("<QQQq4QIIIIII16s", head, 0, 1, 2, 3, -4, 5, 6, 7, 8, library.OPENED, 9, 10, 0, 0, 5, b"svc")
    raw = parse_event(bytes(head) + b"/etc\0and more")
    assert (raw.result, raw.numbers, raw.tgid, raw.comm, raw.text) == (-4, (5, 6, 7, 8), 9, b"svc", b"/etc\0")
    assert parse_event(bytes(head)[:-1]) is None


# -- other backends


def line(*fields):
    return by_bpftrace.FIELD.join(map(str, ("E", *fields))) + "\n"


def test_lines_of_the_scripts_are_events():
    raw = by_bpftrace.parse_event(line(10, 5, 6, -2, 257, 0, 0, 0, 9, 10, 0, 0, "svc", f"/a{by_bpftrace.FIELD}b"))
    assert (raw.kind, raw.result, raw.tgid, raw.text) == (10, -2, 9, f"/a{by_bpftrace.FIELD}b".encode())
    assert by_bpftrace.parse_event("hello\n") is None
    assert by_bpftrace.parse_event(line(*["x"] * 14)) is None


def test_what_bpftrace_says():
    noise = "ERROR: Unknown error -1: couldn't set RLIMIT_MEMLOCK for bpftrace. If your program is not loading ...\n"
    assert complaint(noise + "stdin:1:3-4: ERROR: syntax error\n") == "line 1:3-4: ERROR: syntax error"
    assert parse_line(b'{"type": "map", "data": {"@": 1}}') == {"type": "map", "data": {"@": 1}}
    assert parse_line(b"Attaching 1 probe...") is None
    assert parse_line(b'{"type": 3}') is None
    assert parse_line(b"{" * 100_000) is None


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ('5', [("@x", "", 5)]),
        ('{"a": 1, "b,2": 3}', [("@x", "a", 1), ("@x", "b,2", 3)]),
        ('{"a": {"count": 2, "total": 8}}', [("@x count", "a", 2), ("@x total", "a", 8)]),
        ('["junk"]', []),
        ('{"a": null}', []),
    ],
)  # fmt: skip
def test_maps_of_bpftrace_are_numbers(value, rows):
    found = own.table("script", "@x", json.loads(value))
    assert [(row.name, row.key, row.hits) for row in found if hasattr(row, "hits")] == rows


def test_pages_of_trace_events_end_where_they_make_no_sense():
    formats = {7: ("sched_process_exec", Format(7, {"common_pid": (4, 4), "filename": (8, 4)}))}
    event = struct.pack("<HBBiI", 7, 0, 0, 42, 5 << 16 | 12) + b"/ls\0\0\0\0\0"
    entry = struct.pack("<I", len(event) // 4 | 100 << 5) + event
    page = struct.pack("<QQ", 1000, len(entry)) + entry
    (seen,) = by_tracefs.parse_page(page)
    (raw,) = by_tracefs.Story().feed(seen, *formats[seen.number], lambda pid: [b"ls", b"-l"])
    assert (raw.at, raw.tgid, raw.text) == (1100, 42, exec_text(b"/ls", [b"ls", b"-l"]))
    for at in range(len(page)):
        list(by_tracefs.parse_page(page[:at]))
        list(by_tracefs.parse_page(page[:at] + b"\xff" + page[at + 1 :]))


def test_events_of_bcc_carry_arguments_and_statuses():
    head = bytearray(EVENT.itemsize)
    at = EVENT.fields["flags"][1]
    struct.pack_into("<I", head, EVENT.fields["kind"][1], library.EXITED)
    struct.pack_into("<I", head, at, by_bcc.STATUS)
    assert by_bcc.parse_event(bytes(head) + bytes(256)).result == -1
    struct.pack_into("<Q", head, EVENT.fields["numbers"][1] + 24, 4)
    assert by_bcc.parse_event(bytes(head) + bytes(256)).result == 3 << 8
    assert by_bcc.parse_event(bytes(head)) is None


# -- totals


class Names:
    def mappings(self):
        return [
            Mapping(0x1000, 0x2000, "rw-p", 0, "0:0", 5, "/srv/api"),
            Mapping(0x2000, 0x3000, "rw-p", 0, "0:0", 0, ""),
            Mapping(0x400000, 0x800000, "rw-p", 0, "0:0", 0, ""),
        ]

    def disk(self, device):
        return "vda"

    def places(self, pcs, *, exact):
        return [f"main.{'begun' if exact else 'asks'} main.go:{pc}" for pc in pcs]


def test_totals_have_names_rates_and_histograms():
    made = totals.Totals(Names())
    slots = (0, 2, 0, 1) + (0,) * 22
    found = [
        Total(library.WAITED, 0, 0x2010, 0, 3, sum=SECOND, most=SECOND // 2),
        Total(library.FAULTED, 6, 0x400000 >> 21, 0, 9),
        Total(library.FAULTED, 6, 0x600000 >> 21, 0, 1),
        Total(library.BLOCK_IO, 1, 257, 0, 3, bytes=4096, sum=3000, most=2000, slots=slots),
        Total(library.GO_BEGUN, 0, 12, 13, 5),
    ]
    made.rows(found, 1.0)
    rows, histograms, omitted = made.rows([one._replace(hits=one.hits * 3) for one in found], 3.0)
    by = {row.probe: row for row in rows}
    assert (by["futex-waits"].name, by["futex-waits"].mean) == ("api data 0x2010", 1 / 9)
    assert (by["page-faults"].name, by["page-faults"].count, by["page-faults"].rate) == (
        f"{totals.ANONYMOUS}, heap",
        30,
        10.0,
    )
    assert (by["block-io"].detail, by["block-io"].size) == ("write, the target waits", 4096)
    assert (by["new-goroutines"].name, by["new-goroutines"].detail) == ("main.asks main.go:12", "main.begun main.go:13")
    assert [bucket.count for bucket in histograms[0].buckets] == [2, 0, 1]
    assert omitted == 0


# -- programs of the user's own


@pytest.mark.parametrize(
    "script",
    [
        "uretprobe:/bin/x:f { }", "ur:/bin/x:f { }", "watchpoint:0x1:4:w { }", "usdt:/x:y { }",
        'BEGIN { system("id") }',
        'BEGIN { cat("/etc/shadow") }', "BEGIN { signal(9) }", "#include <linux/sched.h>\nBEGIN { }",
    ],
)  # fmt: skip
def test_scripts_that_touch_the_target_or_read_files_are_refused(script):
    with pytest.raises(UsageError):
        own.checked([BY_ID["script"]], script)


def test_words_in_strings_and_comments_are_no_probes():
    script = 'BEGIN { printf("usdt: system(1)"); } // uretprobe:x\n/* watchpoint: */'
    assert own.checked([BY_ID["script"]], script) == script


@pytest.mark.parametrize(
    "text",
    ['#include "/etc/shadow"', "# include </etc/shadow>", "#include <linux/../../etc/x>", '#\\\ninclude "/x"',
     '%:include "/x"', 'void f(void) { __asm__(".incbin \\"/x\\""); }', '#embed "/x"'],
)  # fmt: skip
def test_c_programs_that_read_files_are_refused(text):
    with pytest.raises(UsageError):
        own.checked([BY_ID["bcc"]], text)


def test_c_programs_may_use_headers_of_the_kernel():
    assert own.checked([BY_ID["bcc"]], "#include <linux/sched.h>\n#include <uapi/linux/ptrace.h> // regs\n")


def test_maps_are_printed_while_a_script_runs():
    assert own.with_prints('BEGIN { @a[1] = count(); printf("@b"); }').endswith("interval:s:1 { print(@a); }\n")
    assert own.with_prints("BEGIN { }") == "BEGIN { }"


def test_files_of_programs(tmp_path):
    file = tmp_path / "x"
    file.write_text("from bcc import BPF\n")
    with pytest.raises(UsageError, match="as root"):
        scripts.kind(scripts.read(str(file)))
    assert scripts.kind("TRACEPOINT_PROBE(a, b) { }") == "bcc"
    assert scripts.kind("BEGIN { }") == "script"
    file.write_bytes(b"x" * (scripts.LONGEST + 1))
    for path in (file, tmp_path, tmp_path / "none", "/dev/zero"):
        with pytest.raises(UsageError):
            scripts.read(str(path))


# -- the library


def test_the_library_is_whole():
    assert len(PROBES) >= 16 + len(library.OWN)
    assert len({probe.id for probe in PROBES}) == len(PROBES)
    for probe in PROBES:
        assert probe.id in library.OWN or probe.objects
        assert probe.group in library.GROUPS
    with pytest.raises(UsageError, match="execs"):
        choice.wanted({"probe": "nonsense"})


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_system_calls_are_known_on_both_machines(machine):
    names = call_names(machine)
    table = by_libbpf.wanted_calls([probe for probe in PROBES if probe.calls], names)
    openat = next(number for number, name in names.items() if name == "openat")
    assert struct.unpack_from("=IBBB", table, openat * 8) == (by_libbpf.OPENS | by_libbpf.OPENS_FAILED, 2, 0, 0)
    assert by_libbpf.purposes_of(table) == (1 << 11) - 1
