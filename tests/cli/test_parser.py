"""The command line of the contract."""

from __future__ import annotations

import pytest
from gotriage.cli.main import run
from gotriage.cli.parser import build, duration, needed_target, target_of
from gotriage.errors import UsageError
from gotriage.records.target import TargetSpec


def parsed(*words):
    return build().parse_args(list(words))


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (["--pid", "42"], TargetSpec("pid", "42")),
        (["--unit", "nginx"], TargetSpec("unit", "nginx")),
        (["--unit", "x", "--user"], TargetSpec("unit", "x", user=True)),
        (["--container", "web-1", "--root-pid", "7"], TargetSpec("container", "web-1", root_pid=7)),
        (["check", "--pid", "42"], TargetSpec("pid", "42")),
        (["--pid", "42", "check"], TargetSpec("pid", "42")),
        (["--core", "/var/core.1"], TargetSpec("core", "/var/core.1")),
        (["show", "--core", "/a/../core", "--exe", "/b//x"], TargetSpec("core", "/core", exe="/b/x")),
        ([], TargetSpec()),
    ],
)
def test_the_same_target_flags_everywhere(words, spec):
    assert target_of(parsed(*words)) == spec


@pytest.mark.parametrize(
    "words",
    [
        ["--pid", "0"],
        ["--pid", "-1"],
        ["--pid", "99999999999999999999"],
        ["--pid", "1", "--unit", "x"],
        ["check"],
        ["show", "overview"],
        ["show"],
        ["show", "oveview", "--pid", "1"],
        ["snapshot", "--pid", "1"],
        ["record", "-o", "x"],
        ["--user"],
        ["--pid", "1", "--user"],
        ["--unit", ""],
        ["check", "--pid", "1", "--for", "5 parsecs"],
        ["check", "--pid", "1", "--from", "x"],
        ["nonsense"],
        ["--nonsense"],
        ["--", "x"],
    ],
)
def test_wrong_usage_is_one_line_and_64(words, capsys):
    assert run(words) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gotriage: ")
    assert err.count("\n") == 1


def test_control_characters_in_arguments_do_not_reach_the_terminal(capsys):
    assert run(["show", "\x1b]0;owned\x07", "--pid", "1"]) == 64
    assert "\x1b" not in capsys.readouterr().err


def test_a_command_that_needs_a_target_says_so():
    with pytest.raises(UsageError, match="check needs a target"):
        needed_target(parsed("check"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("250ms", 0.25), ("1.5m", 90.0), ("2h", 7200.0), ("3", 3.0)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds


def test_show_lists_the_views_of_the_catalogue(capsys):
    from gotriage import catalog

    assert run(["show", "--list"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == [view.id for view in catalog.VIEWS]
