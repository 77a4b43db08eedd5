"""Flame graphs as trees and as rows of cells; profiles as text, against each other, and in other tools' formats."""

from __future__ import annotations

import gzip
import json
import subprocess
from datetime import timedelta

import pytest
from gotriage.render import flame, profile, profile_export
from gotriage.render.flame import Look

from tests.lab import toolchain
from tests.ui import made_profile
from tests.ui.made_profile import START

NOW = made_profile.cpu(2, START + timedelta(seconds=20), hot=260)
BEFORE = made_profile.cpu(1, START, hot=60)
WALL = made_profile.wall(1, START)
TOTAL = NOW.samples


def names(root, depth=1):
    found = {}
    for child in root.sorted:
        found[child.name] = child.value
    return found


def test_samples_add_up_from_the_root_to_every_leaf():
    root = flame.tree(NOW, Look())
    assert root.value == TOTAL == sum(child.value for child in root.sorted) == sum(node.own for node in root.walk())
    for node in root.walk():
        assert node.value == pytest.approx(node.own + sum(child.value for child in node.children.values()))
    serve = root.at([("net/http.(*conn).serve", "std")])
    assert next(iter(names(serve))) == "example.com/orders/api.(*Handler).Post"


def test_the_kernels_time_is_its_callers_when_it_is_hidden():
    def writing(look):
        node = flame.tree(NOW, look).at([("net/http.(*conn).serve", "std"), ("syscall.write", "std")])
        return node.value, node.own, len(node.children)

    assert writing(Look()) == (40, 0, 1)
    assert writing(Look(kernel=False)) == (40, 40, 0)


def test_the_runtimes_own_can_be_left_out():
    root = flame.tree(NOW, Look(system=False))
    assert root.value == TOTAL - 25
    assert "runtime.gcBgMarkWorker" not in names(root)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("creator", {"go by net/http.(*Server).Serve", "[the runtime's own, or none]", "[main goroutine, or none]"}),
        ("label:route", {"route=/orders", "no label"}),
        ("thread", {"thread orders-api"}),
    ],
)
def test_groups_stand_below_the_root(by, groups):
    root = flame.tree(NOW, Look(by))
    assert set(names(root)) == groups
    assert root.value == TOTAL


def test_what_a_profile_can_be_grouped_by():
    assert flame.choices(NOW) == ["", "creator", "label:route"]
    assert flame.choices(WALL) == ["", "creator", "state"]


def test_by_the_clock_states_stand_above_stacks():
    root = flame.tree(WALL, Look(system=False))
    assert names(root) == {"[chan receive]": 2000, "[IO wait]": 250, "[running]": 50}
    assert flame.unit_of(WALL, 2000) == "40 goroutines"
    assert flame.unit_of(NOW, 99) == "1.00 s of CPU"


def test_two_profiles_are_brought_to_the_same_size():
    root = flame.compared(NOW, BEFORE, Look())
    assert root.before == pytest.approx(root.value)
    hot = root.at([("net/http.(*conn).serve", "std"), ("example.com/orders/api.(*Handler).Post", "user")])
    hot = hot.at([("example.com/orders/audit.sum", "user")])
    assert flame.change(hot, root) == pytest.approx(275 / 522 - 75 / 322, abs=0.001)
    assert flame.change(flame.tree(NOW, Look()), flame.tree(NOW, Look())) is None


@pytest.mark.parametrize("width", [1, 7, 40, 79, 200])
def test_cells_lie_below_their_callers_and_never_over_each_other(width):
    root = flame.tree(NOW, Look("creator"))
    places = {}
    for row in flame.rows(root, width):
        end = 0
        for cell in row:
            assert cell.start >= end
            assert cell.size >= 1
            end = cell.start + cell.size
            if cell.node is not None and cell.node.parent is not None:
                above = places[cell.node.parent]
                assert above.start <= cell.start and end <= above.start + above.size
            if cell.node is not None:
                places[cell.node] = cell
        assert end <= width


def test_a_thousand_narrow_callees_are_drawn_as_one():
    root = flame.Node(flame.ROOT)
    for number in range(1000):
        child = root.child(f"f{number}", "user")
        child.value = child.own = 1
        root.value += 1
    (cell,) = flame.rows(root, 80)[1]
    assert (cell.start, cell.size, cell.node, cell.more) == (0, 80, None, 1000)


def test_of_nested_matches_the_outermost_counts():
    root = flame.tree(NOW, Look())
    assert flame.matched(root, "AUDIT") == pytest.approx(275 / TOTAL)
    assert flame.matched(root, "o") <= 1.0
    assert flame.matched(root, "") == 0.0


def test_in_words():
    assert profile.summary(NOW).startswith("522 samples in 5s · 1.05 CPUs · names 99")
    assert profile.waits(NOW) == "threads ran 2.8s, waited 320ms for a CPU · throttled 900ms, in 14 of 50 periods"
    assert profile.summary(WALL) == "50 looks in 5s · 48 goroutines, 8ms a look"
    lines = list(profile.calls(flame.tree(NOW, Look())))
    assert lines[0].split() == ["100", "%", "all"]
    assert lines[2].strip().endswith("api.(*Handler).Post")


def test_what_has_changed_is_named_with_what_may_be_chance():
    found = profile.changes(NOW, BEFORE)
    assert found[0].function == "example.com/orders/audit.sum"
    assert found[0].change == pytest.approx(0.31, abs=0.01)
    assert profile.points(found[0].change).startswith("+3")
    assert 0.05 < profile.noise(NOW, BEFORE) < 0.1
    assert not profile.changes(NOW, NOW)


def test_folded_stacks_and_speedscope_hold_every_sample():
    folded = profile_export.export(NOW, "folded").decode().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in folded) == TOTAL
    assert "net/http.(*conn).serve;syscall.write;tcp_sendmsg_[k] 40" in folded
    scope = json.loads(profile_export.export(WALL, "speedscope"))
    (one,) = scope["profiles"]
    assert len(one["samples"]) == len(one["weights"]) == len(WALL.stacks)
    assert one["endValue"] == pytest.approx(WALL.samples / 10)
    assert all(place < len(scope["shared"]["frames"]) for sample in one["samples"] for place in sample)
    assert "[chan receive]" in {frame["name"] for frame in scope["shared"]["frames"]}


@pytest.mark.real
def test_go_tool_pprof_reads_both_kinds(tmp_path):
    for kind, words in ((NOW, ("audit.sum", "route", "tcp_sendmsg")), (WALL, ("queue.(*Worker).loop", "chan receive"))):
        file = tmp_path / f"{type(kind).__name__}.pb.gz"
        file.write_bytes(profile_export.export(kind, "pprof"))
        assert gzip.decompress(file.read_bytes())
        go = [toolchain.toolchain(), "tool", "pprof"]
        env = toolchain.environment() | {"PPROF_TMPDIR": str(tmp_path)}
        raw = subprocess.run([*go, "-raw", file], capture_output=True, text=True, check=True, env=env).stdout
        top = subprocess.run([*go, "-top", file], capture_output=True, text=True, check=True, env=env).stdout
        assert all(word in raw for word in words), raw[:2000]
        assert f"{kind.samples * 1000 / kind.hz:.0f}"[:2] in top.replace(",", "")
        assert "Type: cpu" in top or "Type: wall" in top
