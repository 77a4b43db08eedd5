"""The parts that need no screen: spans, plots, shell commands."""

from __future__ import annotations

import pytest
from gotriage.records.target import TargetSpec, TargetState
from gotriage.render.text import wrap
from gotriage.ui import plot
from gotriage.ui.shell import filled
from gotriage.ui.spans import cut, cut_middle, cut_spans, fit, labelled, marked, spread, text_of
from rich.cells import cell_len

from tests.ui.made import START

WORDS = ["", "a", "plain words", "数字と漢字", "a数b字c", "x" * 300, "é" * 20, "two\nlines of it"]


@pytest.mark.parametrize("width", [1, 2, 5, 20, 80])
@pytest.mark.parametrize("text", WORDS)
def test_texts_fit(text, width):
    assert cell_len(fit(text, width)) == width or "\n" in text
    assert cell_len(cut(text, width)) <= width
    assert cell_len(cut_middle(text, width)) <= width
    assert all(cell_len(line) <= max(width, 2) for line in wrap(text, width))


def test_wrapping_loses_nothing():
    text = "one two three " + "x" * 50 + " four"
    assert "".join(wrap(text, 10)).replace(" ", "") == text.replace(" ", "")


def test_the_end_of_a_path_is_kept():
    assert cut_middle("/var/lib/orders/segments/segment-1.wal", 24).endswith("segment-1.wal")


def test_spreading_puts_the_right_part_at_the_edge():
    line = text_of(spread([("left", "")], [("right", "")], 20))
    assert line == "left           right"
    assert text_of(spread([("a long left part", "")], [("right", "")], 12)) == "a lon… right"
    assert cell_len(text_of(cut_spans([("ab", ""), ("cd", "")], 3))) <= 3


def test_a_label_stands_once():
    assert [text_of(spans) for spans in labelled("next", "one two", 16, indent=2, column=6)] == ["  next  one two"]
    assert [text_of(spans) for spans in labelled("next", "one two", 13, indent=2, column=6)] == [
        "  next  one",
        "        two",
    ]


def test_matches_are_marked_one_by_one():
    assert marked("aXbxc", "dim", "x") == [("a", "dim"), ("X", "match"), ("b", "dim"), ("x", "match"), ("c", "dim")]
    assert marked("abc", "dim", "") == [("abc", "dim")]


def test_what_was_not_measured_is_empty_and_zero_is_not():
    assert plot.lines([None, 0.0, 0.5, 1.0], 1.0) == [" ▁▄▇"]
    assert plot.lines([0.0, None], 0.0) == ["▁ "]
    assert plot.lines([1.0], 1.0, 2) == ["▇", "█"]


def test_steps_of_time_stay_where_they_are():
    points = [(float(second), float(second)) for second in range(100)]
    at, later = plot.buckets(points, 10, 50, 99.0), plot.buckets(points, 10, 50, 101.0)
    assert at[-1] == 99.0
    assert later[:-1][-9:] == at[1:]


def test_a_value_holds_until_the_next_one_or_its_end():
    points = [(0.0, 1.0), (10.0, None), (20.0, 2.0), (20.5, 3.0)]
    found = plot.buckets(points, 30, 30, 29.0)
    assert found == [1.0] * 10 + [None] * 10 + [3.0] * 10


def test_a_bar_shows_anything_above_zero_and_never_more_than_full():
    assert plot.bar(0.0, 4) == ("", "────")
    assert plot.bar(0.001, 4) == ("╸", "───")
    assert plot.bar(0.5, 4) == ("━━", "──")
    assert plot.bar(7.0, 4) == ("━━━━", "")
    assert plot.bar(None, 4) == ("", "    ")


def target(**fields) -> TargetState:
    spec = TargetSpec(kind="unit", value="a b.service")
    return TargetState(at=START, spec=spec, name="x", state="running", **fields)


def test_a_command_is_quoted_and_left_out_where_it_has_no_object():
    command = "systemctl status {unit}; cat /proc/{pid}/status"
    assert filled(command, target(pid=7)) == ["cat /proc/7/status"]
    assert filled(command, target(unit="x; rm -rf /")) == ["systemctl status 'x; rm -rf /'"]
    assert filled("gotriage check {target}", target()) == ["gotriage check --unit a b.service"]
    assert filled(command, None) == []


def test_a_users_unit_and_a_name_that_reads_as_an_option():
    command = "systemctl {scope}status {unit}; journalctl {scope}-u {unit} -f; docker logs -f {container}"
    user = TargetState(
        at=START, spec=TargetSpec(kind="unit", value="x", user=True), name="x", state="running", unit="x.service"
    )
    assert filled(command, user) == ["systemctl --user status x.service", "journalctl --user -u x.service -f"]
    assert filled(command, target(unit="-Hevil.service", container_name="--help")) == []
