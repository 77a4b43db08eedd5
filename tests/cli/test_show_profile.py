"""`gotriage show profile` on files: text, JSON, other formats, against another; and what it refuses."""

from __future__ import annotations

import json

import pytest
from gotriage.cli.main import run
from gotriage.session.recording import save

from tests.ui import made_profile
from tests.ui.made_profile import START


@pytest.fixture
def files(tmp_path):
    """A session with a profile, one with a hotter one and one of all goroutines, one without any."""
    sessions = {
        "before": made_profile.session(made_profile.cpu(1, START, hot=60)),
        "now": made_profile.session(made_profile.cpu(1, START, hot=260), made_profile.wall(1, START)),
        "none": made_profile.session(made_profile.refused("profile", "perf events are not permitted", "sudo")),
    }
    for name, made in sessions.items():
        save(made, tmp_path / name)
    return {name: str(tmp_path / name) for name in sessions}


def shown(capsys, *words):
    status = run(["show", "profile", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_heaviest_calls_functions_and_threads(capsys, files):
    status, out, _ = shown(capsys, "--from", files["now"])
    assert status == 0
    assert out.startswith("522 samples in 5s")
    for words in ("api.(*Handler).Post", "FLAT", "example.com/orders/audit.sum", "41210", "throttled 900ms"):
        assert words in out
    status, out, _ = shown(capsys, "--from", files["now"], "--trace", "wall")
    assert "[chan receive]" in out


def test_objects_are_the_profile_and_its_functions(capsys, files):
    _, out, _ = shown(capsys, "--from", files["now"], "--json")
    first, *rows = map(json.loads, out.splitlines())
    assert (first["kind"], first["samples"]) == ("cpu_profile", 522)
    assert rows[0]["function"] == "example.com/orders/audit.sum"
    assert rows[0]["flat"] == 260


def test_against_an_earlier_one(capsys, files):
    _, out, _ = shown(capsys, "--from", files["now"], "--against", files["before"])
    assert "may be chance" in out
    changed = next(line for line in out.splitlines() if line.endswith("audit.sum"))
    assert changed.split()[0] == "+31.2"
    _, out, _ = shown(capsys, "--from", files["now"], "--against", files["before"], "--json")
    assert json.loads(out.splitlines()[0])["function"] == "example.com/orders/audit.sum"


def test_exports_never_overwrite(capsys, files, tmp_path):
    file = str(tmp_path / "out.folded")
    assert shown(capsys, "--from", files["now"], "--export", "folded", "-o", file)[0] == 0
    status, _, err = shown(capsys, "--from", files["now"], "--export", "folded", "-o", file)
    assert (status, "nothing is overwritten" in err) == (64, True)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--export", "debug2"), 64, "a profile is exported as pprof, folded, speedscope"),
        (("--trace", "memory"), 64, "there are: profile, wall"),
        (("--export", "pprof", "--json"), 64, "excludes"),
        (("--option", "hz=9"), 64, "live target"),
    ],
)
def test_what_makes_no_sense(capsys, files, words, status, said):
    found, _, err = shown(capsys, "--from", files["now"], *words)
    assert (found, said in err) == (status, True), err


def test_without_a_profile_it_says_why(capsys, files):
    status, out, err = shown(capsys, "--from", files["none"])
    assert status == 3
    assert not out
    assert "perf events are not permitted" in err
    status, _, err = shown(capsys, "--from", files["now"], "--against", files["none"])
    assert (status, "holds no profile" in err) == (3, True)
