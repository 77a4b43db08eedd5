"""What is counted in the kernel, made into rows; raw trace events of a recorded buffer; names and traits of calls."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from gotriage.collectors.syscalls import counted, kinds
from gotriage.collectors.syscalls.tracefs import Tally, events, offsets
from gotriage.errors import MissingFacility
from gotriage.host.callnames import call_name, call_names
from gotriage.host.callstate import CallState, parse_call_state
from gotriage.host.tracefs import parse_format
from gotriage.records.errnos import errno_name, errno_words

RECORDED = Path(__file__).parents[1] / "fixtures" / "tracefs" / "6.18"
READ, FUTEX, OPENAT, GETPPID, NEWFSTATAT = 0, 202, 257, 110, 262


def slots(**durations):
    """A histogram with so many calls of these lengths, as "ns500=3"."""
    found = np.zeros(counted.SLOTS, np.uint32)
    for name, count in durations.items():
        found[np.searchsorted(counted.BOUNDS, int(name[2:]), side="right") - 1] += count
    return found


def test_slots_lie_where_the_program_puts_them():
    assert [counted.BOUNDS[at] for at in (0, 1, 2, 5, 9)] == [0, 128, 160, 256, 512]
    assert counted.BOUNDS[-1] == 2**38 * 1.75 or counted.BOUNDS[-1] > 2**38


@pytest.mark.parametrize(("ns", "part"), [(300, 0.5), (5_000, 0.99), (1_000_000_000, 0.5)])
def test_a_quantile_is_off_by_an_eighth_at_most(ns, part):
    found = counted.quantile(slots(**{f"ns{ns}": 1000}), part)
    assert abs(found * 1e9 - ns) <= ns * 0.26
    assert counted.quantile(slots(), 0.5) is None


def test_a_quantile_finds_the_rare_long_ones():
    found = slots(ns200=980, ns1000000=20)
    assert counted.quantile(found, 0.5) < 3e-7
    assert counted.quantile(found, 0.99) > 8e-4


def test_a_histogram_by_doublings_loses_nothing():
    shown = counted.doublings(slots(ns100=2, ns130=3, ns250=4, ns300=5, ns5000=1))
    assert [(round(slot.below * 1e9), slot.count) for slot in shown] == [
        (128, 2), (256, 7), (512, 5), (1024, 0), (2048, 0), (4096, 0), (8192, 1),
    ]  # fmt: skip


def totals(**calls):
    found = np.zeros(kinds.CALLS, counted.CALL)
    for name, (count, errors, again, data) in calls.items():
        row = found[next(number for number, known in call_names().items() if known == name)]
        row["count"], row["errors"], row["again"], row["bytes"] = count, errors, again, data
    return found


def test_rates_are_over_attached_time_and_over_half_a_second_at_least():
    earlier = counted.Earlier()
    first = totals(read=(100, 0, 0, 1000))
    later = totals(read=(300, 0, 0, 3000), futex=(100, 0, 0, 0))
    (row,) = counted.call_rows(first, earlier.swap(2.0, first), 2.0, {}, None)
    assert (row.rate, row.byte_rate, row.share) == (50.0, 500.0, 1.0)
    rows = counted.call_rows(later, earlier.swap(2.1, later), 2.1, {}, None)
    assert [(row.call, row.rate) for row in rows] == [("read", 142.9), ("futex", 47.6)]  # over 2.1 s, not 0.1
    rows = counted.call_rows(later, earlier.swap(3.0, later), 3.0, {}, None)
    assert [row.rate for row in rows] == [0.0, 0.0]


def test_errors_are_named_the_most_frequent_first():
    keys = np.array([(OPENAT, 2), (READ, 9), (READ, 512), (READ, 3999)], counted.FAILED)
    found = counted.errnos(totals(read=(50, 30, 20, 0)), keys, np.array([7, 3, 2, 1], np.uint64))
    assert found == {READ: {"EAGAIN": 20, "EBADF": 3, "ERESTART": 2, "errno 3999": 1}, OPENAT: {"ENOENT": 7}}
    assert list(found[READ]) == ["EAGAIN", "EBADF", "ERESTART", "errno 3999"]
    assert "LimitNOFILE" in errno_words(errno_name(24)) and errno_words("errno 3999") == ""


def test_of_many_goroutines_the_busiest_stay(monkeypatch):
    monkeypatch.setattr(counted.Goroutines, "MOST", 10)
    found = counted.Goroutines()
    for goid in range(1, 13):
        keys = np.array([(goid, READ, 0), (goid, FUTEX, 0)], counted.GOROUTINE)
        uses = np.array([(1, 0, 5, goid * 1000, 9), (1, 0, 0, 10**9, 9)], counted.GOROUTINE_USE)
        found.add(keys, uses)
    rows, omitted = found.rows(3)
    assert [row.id for row in rows] == [12, 11, 10]
    assert omitted == 9 and len(found) == 6
    assert (rows[0].total.count, rows[0].waiting.seconds, rows[0].calls["read"].bytes) == (1, 1.0, 5)


def test_threads_are_told_with_a_harmless_name():
    row = np.zeros(2, counted.THREAD)
    row["tid"], row["comm"] = [7, 8], b"a\x1b[31m\n"
    row["own"]["call"][0, 3], row["own"]["count"][0, 3], row["own"]["sum"][0, 3] = READ + 1, 5, 1_500
    (caller,) = counted.thread_rows(row)
    assert (caller.id, caller.calls["read"].count, caller.total.seconds) == (7, 5, 1.5e-6)
    assert "\x1b" not in caller.name and "\n" not in caller.name


# -- trace events


def recorded():
    data = (RECORDED / "pages").read_bytes()
    return [data[at : at + 4096] for at in range(0, len(data), 4096)], parse_format((RECORDED / "format").read_text())


def test_recorded_pages_give_every_call():
    tids, numbers, results = events(*recorded())
    assert Counter(numbers.tolist())[GETPPID] == 301
    assert (results[numbers == NEWFSTATAT] == -2).sum() == 20
    assert len(set(tids.tolist())) == 1
    tally = Tally()
    tally.add(tids, numbers, results)
    assert tally.totals["count"][GETPPID] == 301
    keys, counts = tally.failed()
    assert [(int(k["error"]), int(n)) for k, n in zip(keys, counts, strict=True) if k["call"] == NEWFSTATAT] == [
        (2, 20)
    ]
    (caller,) = counted.thread_rows(tally.threads())
    assert caller.calls["getppid"].count == 301


def test_no_page_is_read_beyond_its_end():
    pages, layout = recorded()
    for page in pages:
        for cut in (0, 8, 16, 17, 40, 100, 4095):
            assert all(at <= cut for at in offsets(page[:cut], 24))
        for at in range(16, 600, 3):
            events([page[:at] + bytes([255]) + page[at + 1 :]], layout)
    events([bytes(4096), b"\xff" * 4096, b""], layout)


def test_a_return_from_a_signal_is_no_failure():
    tally = Tally()
    tally.add(np.array([7, 7]), np.array([-1, 10_000]), np.array([-11, 0]))
    assert int(tally.totals["errors"].sum()) == 0
    assert int(tally.totals["count"][kinds.BEYOND]) == 1


# -- names


@pytest.mark.parametrize(("machine", "read", "close_range"), [("x86_64", 0, 436), ("aarch64", 63, 436)])
def test_names_by_number(machine, read, close_range):
    names = call_names(machine)
    assert (names[read], names[close_range], names[462]) == ("read", "close_range", "mseal")
    assert len(set(names.values())) == len(names)
    assert max(names) < kinds.BEYOND


def test_a_number_or_machine_that_nobody_knows():
    assert call_name(500) == "call 500"
    with pytest.raises(MissingFacility, match="riscv64"):
        call_names("riscv64")


def test_every_trait_is_of_a_call_that_there_is():
    known = set(call_names("x86_64").values()) | set(call_names("aarch64").values())
    assert set(kinds.TRAITS) - known <= {"uselib"}
    assert kinds.waits("futex") and not kinds.waits("read")
    assert kinds.table()[OPENAT] == kinds.PATH_2


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("running\n", None),
        ("-1 0x7ffd 0x45\n", None),
        (
            "202 0xc000 0x80 0x0 0x0 0x0 0x0 0x7ffe 0x46e1\n",
            CallState(202, (0xC000, 0x80, 0, 0, 0, 0), 0x7FFE, 0x46E1),
        ),
    ],
)
def test_the_call_that_a_thread_sleeps_in(line, state):
    assert parse_call_state(line) == state
    with pytest.raises(ValueError):
        parse_call_state("202 0x1\n")
