"""From samples to rows of a profile: names, callers that the kernel misses, goroutines, options; without a process."""

from __future__ import annotations

import struct

import pytest
from gotriage.collectors.profile import building, options
from gotriage.collectors.profile.building import Key, Sums, Table, caller_of, parts
from gotriage.collectors.profile.naming import Namer
from gotriage.collectors.profile.samplers import Taken, unpacked
from gotriage.errors import TargetGone, UsageError
from gotriage.goruntime.profileparts import Origin, Place
from gotriage.host import Host
from gotriage.host.proc import Proc

MAIN, HOT = Place("main.main", "main.go", 9, "user"), Place("main.hot", "hot.go", 5, "user")
MALLOC = Place("runtime.mallocgc", "malloc.go", 100, "runtime")
JSON = Place("encoding/json.Marshal", "encode.go", 1, "std")


class Names:
    """Stands for the process that names samples: address 0x10 to 0x13 are code."""

    def __init__(self):
        self.places = {0x10: HOT, 0x11: MAIN, 0x12: MALLOC, 0x13: JSON}
        self.asked = []

    def frame_sizes(self, pid, pcs):
        return [0 if pc == 0x10 else 24 for pc in pcs]

    def name(self, pid, stacks):
        self.asked += stacks
        named = []
        for caller, pcs, _ in stacks:
            whole = [pcs[0], *([caller] if caller in self.places else []), *pcs[1:]]
            named.append(tuple(self.places[pc] for pc in whole if pc in self.places))
        return named, {number for number, (_, pcs, _) in enumerate(stacks) if set(pcs) - self.places.keys()}

    def origins(self, pid, pairs):
        return [Origin(MAIN, HOT, system=startpc == 1) for _, startpc in pairs]

    def labels(self, pid, pointers):
        return [{"job": "burn\x1b[2J"} if pointer == 5 else None for pointer in pointers]


def namer(names, tmp_path):
    (tmp_path / "kallsyms").write_text("ffffffff81000000 T do_syscall_64\n")
    return Namer(Host(proc=Proc(tmp_path)), names, go=True, linked=False)


def taken(user, **more):
    return Taken(7, "svc", tuple(user), (), (0x11, 0, 0, 0), **more)


def test_the_caller_that_frame_pointers_miss_is_put_back(tmp_path):
    names, sums = Names(), Sums()
    one = namer(names, tmp_path)
    one.add([taken([0x10]), taken([0x10]), taken([0x12, 0x11])], sums)
    assert names.asked == [(0x11, (0x10,), ()), (0, (0x12, 0x11), ())] or len(names.asked) == 2
    found = {tuple(one.table.frames[n].function for n in key.frames): count for key, count in sums.counts.items()}
    assert found == {("main.hot", "main.main"): 2, ("runtime.mallocgc", "main.main"): 1}
    assert (sums.samples, sums.user_frames, sums.named_frames) == (3, 6, 6)
    one.add([taken([0x10])], sums)
    assert len(names.asked) == 2  # what is known is not asked again


@pytest.mark.parametrize(
    ("size", "link", "linked", "caller"),
    [
        (0, 0, False, 11),
        (8, 0, False, 12),
        (40, 0, False, 0),
        (-1, 0, False, 0),
        (3, 0, False, 0),
        (0, 99, True, 99),
        (16, 99, True, 0),
    ],
)
def test_where_a_missed_caller_stands(size, link, linked, caller):
    assert caller_of(size, (11, 12, 13, 14), link, linked=linked) == caller


def test_goroutines_labels_and_stacks_that_went_astray(tmp_path):
    names, sums = Names(), Sums()
    one = namer(names, tmp_path)
    mine = taken([0x12, 0x11], goid=9, gopc=3, startpc=2, labels=5)
    one.add([mine, mine._replace(labels=6), mine._replace(startpc=1), taken([0x12, 0x999])], sums)
    keys = list(sums.counts)
    assert [key.labels for key in keys] == [(("job", "burn␛[2J"),), (), (("job", "burn␛[2J"),), ()]
    assert [key.system for key in keys] == [False, False, True, True]
    assert [key.cut for key in keys] == [False, False, False, True]
    assert keys[0].creator.function == "main.main"
    assert (sums.attributed, sums.cut) == (3, 1)


def test_the_kernels_part_comes_first_and_a_process_that_has_gone_is_not_an_error(tmp_path):
    class Gone(Names):
        def name(self, pid, stacks):
            raise TargetGone("gone")

    sums = Sums()
    one = namer(Gone(), tmp_path)
    one.add([Taken(7, "svc", (0x10,), (0xFFFFFFFF81000004,), ())], sums)
    ((key, count),) = sums.counts.items()
    assert [one.table.frames[n].function for n in key.frames] == ["do_syscall_64", "[process has ended]"]
    assert (key.kernel, count, sums.named_frames, sums.user_frames) == (1, 1, 0, 1)


def test_functions_by_their_own_and_what_they_answer_for():
    table = Table()
    stack = tuple(table.number(place) for place in (MALLOC, JSON, HOT, MAIN))
    sums = Sums()
    sums.add(Key(stack), 6)
    sums.add(Key(stack[2:]), 3)
    sums.add(Key((stack[2], stack[2], stack[3])), 1)  # recursion counts once
    rows = {row.function: row for row in parts(sums, table)["rows"]}
    assert (rows["main.hot"].flat, rows["main.hot"].own, rows["main.hot"].cum) == (4, 10, 10)
    assert (rows["runtime.mallocgc"].flat, rows["runtime.mallocgc"].own) == (6, 0)
    assert rows["runtime.mallocgc"].caller == "encoding/json.Marshal"
    assert (rows["main.hot"].caller, rows["main.hot"].caller_share) == ("main.main", 1.0)
    assert (rows["main.hot"].own_share, rows["main.hot"].file, rows["main.hot"].line) == (1.0, "hot.go", 5)


def test_a_record_points_into_its_own_tables_and_says_what_was_left_out(monkeypatch):
    monkeypatch.setattr(building, "MOST_STACKS", 2)
    table, sums = Table(), Sums()
    for number in range(4):
        frame = table.number(Place(f"main.f{number}", kind="user"))
        sums.add(Key((frame,), thread=f"t{number}", labels=(("n", str(number)),)), number + 1)
    found = parts(sums, table)
    assert (found["samples"], found["omitted"]) == (10, 3)
    assert [found["frames"][stack.frames[0]].function for stack in found["stacks"]] == ["main.f3", "main.f2"]
    assert [found["threads_named"][stack.thread] for stack in found["stacks"]] == ["t3", "t2"]
    assert [found["label_sets"][stack.labels] for stack in found["stacks"]] == [{"n": "3"}, {"n": "2"}]


def test_a_sample_of_the_program_in_the_kernel():
    head = struct.pack("<QIIQQQQQ4Q16sIIQ", 1, 7, 8, 9, 10, 11, 12, 13, 1, 2, 3, 4, b"svc\0rubbish", 1, 2, 1)
    data = (
        head
        + struct.pack("<24Q", 0x77, *[0] * 23)
        + struct.pack("<48Q", 0x99, *[0] * 47)
        + struct.pack("<2Q", 0x41, 0x42)
    )
    assert unpacked(data) == Taken(7, "svc", (0x41, 0x42), (0x99,), (1, 2, 3, 4), 13, 9, 10, 11, 12, (0x77,))
    assert unpacked(data[:-8]).user == (0x41,)
    assert unpacked(head) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hz": "0"}, "from 1 to 999"),
        ({"hz": "٣"}, "from 1 to 999"),
        ({"hz": "1e3"}, "from 1 to 999"),
        ({"kernel": "maybe"}, "yes or no"),
        ({"window": "0.1"}, "seconds of one profile"),
        ({"window": "nan"}, "seconds of one profile"),
        ({"speed": "9"}, "no option 'speed'"),
    ],
)
def test_options_that_make_no_sense(given, words):
    with pytest.raises(UsageError, match=words):
        options.parse(given, "cpu", 99)


def test_options():
    assert options.parse({}, "cpu", 99) == options.Options(99, True, None)
    assert options.parse({"hz": "49", "kernel": "no", "window": "5s", "backend": "x"}, "cpu", 99) == options.Options(
        49, False, 5.0
    )
    with pytest.raises(UsageError, match="no option 'kernel'"):
        options.parse({"kernel": "no"}, "wall", 10)
