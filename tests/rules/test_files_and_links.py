"""Libraries, the build on disk, the log's keeping, access to own files; and how the engine puts claims together."""

from __future__ import annotations

from pathlib import Path

import pytest
from gotriage import config
from gotriage.errors import UsageError
from gotriage.records.environment import Access, AccessProblem, Environment
from gotriage.records.files import FileCounts
from gotriage.records.findings import Finding
from gotriage.records.libraries import Libraries, Library
from gotriage.records.logs import LogSource
from gotriage.records.service import UnitState
from gotriage.rules import engine
from gotriage.rules.causes import LINKS, fold
from gotriage.rules.engine import THRESHOLDS, judge

DOCS = Path(__file__).parents[2] / "docs" / "findings.md"

# -- libraries

APP = Library(name="app", path="/app")
GONE = Library(
    name="libfoo.so.1", depth=1, needed_by="app", install="libfoo1", loaded="/usr/lib/libfoo.so.1", loaded_deleted=True
)


def linked(story, *rows, **more):
    return story.add(Libraries, executable="/app", linkage="dynamic", rows=(APP, *rows), **more)


def test_a_missing_library_of_what_runs_is_a_warning(running):
    found = linked(running, GONE).finding("missing-library")
    assert found.severity == "warning"
    assert found.title == "libfoo.so.1 is not found by any rule of the loader; it runs, the next start fails"
    assert "in memory it is /usr/lib/libfoo.so.1, deleted since" in found.evidence
    assert found.fix == "install libfoo1"


def test_a_missing_library_is_why_it_does_not_start(story):
    linked(story.down(), GONE)
    story.add(
        UnitState, name="web.service", active_state="failed", result="exit-code", exec_main_status=127, n_restarts=5
    )
    assert story.ids()[0] == "missing-library"
    assert story.finding("missing-library").severity == "critical"
    assert story.finding("crash-loop").because == "missing-library"


def test_a_missing_loader(story):
    linked(story.down(), interpreter="/lib/ld-musl-x86_64.so.1", interpreter_found=False)
    assert story.finding("missing-library").subject == "/lib/ld-musl-x86_64.so.1"


def test_a_missing_symbol_version(running):
    libc = Library(
        name="libc.so.6",
        depth=1,
        path="/lib/libc.so.6",
        package="libc6",
        missing_versions=("GLIBC_2.38 asked by /app",),
    )
    found = linked(running, libc, libc="glibc", libc_version="2.36").finding("symbol-version-missing")
    assert found.title.startswith("libc.so.6 lacks GLIBC_2.38 asked by /app")
    assert "the C library here is glibc 2.36" in found.evidence


def test_linking_that_is_in_order(running):
    linked(running, Library(name="libc.so.6", depth=1, path="/lib/libc.so.6"))
    assert running.fine("missing-library").text == "1 library found"
    running.add(Libraries, executable="/app", linkage="static")
    assert running.fine("missing-library").text == "linked statically"


# -- the build on disk


@pytest.mark.parametrize(
    ("deleted", "replaced", "severity"),
    [(False, False, None), (True, True, "info"), (True, None, "warning"), (False, True, "info")],
)
def test_the_build_on_disk(running, deleted, replaced, severity):
    running.add(UnitState, name="web.service", active_state="active", main_pid=4242)
    running.add(Environment, pid=4242, exe="/opt/web", exe_deleted=deleted, exe_replaced=replaced, module="shop")
    found = running.verdict().findings
    assert [claim.severity for claim in found] == ([severity] if severity else [])
    if severity == "info":
        assert found[0].fix.startswith("systemctl restart web.service starts the new build")
    if severity == "warning":
        assert "cp /proc/4242/exe" in found[0].fix


# -- the log's keeping


def test_a_volatile_journal_is_only_worth_knowing(running):
    found = running.log_source(state="volatile", where="/run/log/journal").finding("log-volatile")
    assert found.severity == "info"
    assert "/run/log/journal" in found.title


def test_lines_that_were_thrown_away(running):
    found = running.log_source(state="rate-limited", dropped=1200).finding("log-rate-limited")
    assert found.severity == "warning"
    assert found.title == "1,200 log lines were thrown away by journal's rate limit"


def test_an_unreadable_log_is_unknown(running):
    running.log_source(state="unreadable", detail="no permission", remedy="run with sudo")
    assert running.unknown("log-volatile").reason == "journal: no permission"
    assert LogSource("journal").state == "ok"


# -- own files


def test_own_files_that_may_not_be_used(running):
    problem = AccessProblem("/etc/web.yml", "r", "uid 33 may not read it", "root:root", "-rw-------", "argument 2")
    running.add(Access, checked=9, problems=(problem,))
    running.log("cannot read", 5, fields={"error": "open /etc/web.yml: permission denied"}).beat(9)
    found = running.finding("permission-denied")
    assert found.title == "/etc/web.yml: uid 33 may not read it"
    assert any(sentence.startswith("the log says so once, last at") for sentence in found.evidence)
    assert found.fix.startswith("setfacl -m u:33:rX /etc/web.yml")


def test_what_only_the_log_says(running):
    running.add(Access, checked=9).log("open /var/x: permission denied", 5)
    assert running.finding("permission-denied").title == "/var/x: permission denied, says its log"
    assert running.finding("permission-denied").severity == "warning"
    running.beat(400)
    assert running.ids() == []


def test_users_who_are_denied_something_are_not_the_services_files(running):
    running.log("user 17: permission denied for table orders", 5)
    assert running.ids() == []


def test_a_refused_file_explains_the_failed_start(story):
    story.log("open /etc/web.yml: permission denied", 5, level="fatal")
    story.down().add(
        UnitState,
        name="web.service",
        active_state="failed",
        result="exit-code",
        exec_main_code=1,
        exec_main_status=1,
        exec_main_start=story.time(4),
        exec_main_exit=story.time(5),
    )
    assert story.ids()[:2] == ["permission-denied", "start-failure"]
    assert story.finding("start-failure").because == "permission-denied"


def test_names_from_outside_are_quoted_in_commands(running):
    path = "/etc/a;reboot $(x) 'y'"
    running.add(Access, checked=1, problems=(AccessProblem(path, "r", "uid 1 may not read it"),))
    assert "'/etc/a;reboot $(x) '\\''y'\\'''" in running.finding("permission-denied").fix


# -- the engine


def finding(rule, severity="critical", subject="", **more):
    from tests.rules.conftest import START

    return Finding(id=rule, severity=severity, title=rule, subject=subject, observed_at=START, **more)


def test_nothing_is_judged_before_there_is_a_target(story):
    assert judge(story.session).findings == ()
    assert judge(story.session).unknown == ()


def test_what_has_not_been_looked_at_is_one_unknown(running):
    (found,) = [claim for claim in running.verdict().unknown if claim.reason == "not looked at yet"]
    assert {found.id, *found.also} >= {"fd-exhaustion", "memory-limit-near", "cpu-throttled", "missing-library"}


def test_the_cursor_is_the_moment(running):
    for second in range(100):
        used = 10 if second < 50 else 1024
        running.add(FileCounts, second, fullest=used, total=used, fullest_pid=1, soft_limit=1024)
    assert running.ids() == ["fd-exhaustion"]
    running.session.jump(running.time(20))
    assert running.ids() == []
    assert running.verdict().at == running.time(20)


def test_the_same_session_gives_the_same_verdict(running):
    running.each_second(60, FileCounts, lambda s: {"fullest": 900 + s, "total": 900 + s, "soft_limit": 1024})
    assert running.verdict() == running.verdict()


def test_chains_fold_under_the_first_cause():
    folded = fold(
        [finding("not-running"), finding("crash-loop"), finding("panic"), finding("already-traced", "warning")]
    )
    because = {claim.id: claim.because for claim in folded}
    assert because == {"not-running": "panic", "crash-loop": "panic", "panic": "", "already-traced": ""}
    assert next(claim for claim in folded if claim.id == "panic").explains == ("not-running", "crash-loop")


def test_a_cause_is_at_least_as_bad_as_what_it_does():
    cause, effect = fold(
        [
            finding("permission-denied", "warning", "/etc/x"),
            finding("start-failure", evidence=("open /etc/x: refused",)),
        ]
    )
    assert (cause.severity, effect.because) == ("critical", "permission-denied")


def test_consequences_stand_under_one_of_two_panics(running):
    for number, name in enumerate(("Post", "Get", "Post")):
        running.log(f"panic: x\n\ngoroutine 1 [running]:\nshop.{name}()\n\t/s.go:7", 10.0 * number, kind="panic")
        running.add(
            UnitState,
            10.0 * number + 1,
            name="web.service",
            active_state="active",
            main_pid=4242,
            n_restarts=number + 1,
        )
    running.add(UnitState, 40, name="web.service", active_state="active", main_pid=4242, n_restarts=4)
    verdict = running.verdict()
    assert [claim.id for claim in verdict.findings] == ["panic", "panic", "crash-loop"]
    assert sum(len(verdict.explained_by(claim)) for claim in verdict.findings) == 1


def test_links_have_no_circle():
    for cause, effects, _ in LINKS:
        for effect in effects:
            assert not [1 for other, others, _ in LINKS if other == effect and cause in others], (cause, effect)


def test_a_rule_that_fails_does_not_take_the_others_with_it(running, monkeypatch):
    def broken(evidence):
        yield from ()
        raise ZeroDivisionError("made up by the target")

    monkeypatch.setattr(engine, "RULES", (broken, *engine.RULES))
    running.add(FileCounts, fullest=1024, total=1024, soft_limit=1024)
    assert running.ids() == ["fd-exhaustion"]
    assert "ZeroDivisionError" in running.unknown("broken").reason


def test_thresholds_of_a_settings_file(tmp_path, running):
    file = tmp_path / "config.toml"
    file.write_text("[thresholds.fd-exhaustion]\nwarning = 0.5\n")
    running.add(FileCounts, fullest=600, total=600, soft_limit=1024)
    assert running.ids() == []
    assert [f.id for f in judge(running.session, config.load(str(file), THRESHOLDS).thresholds).findings] == [
        "fd-exhaustion"
    ]
    file.write_text("[thresholds.fd-exhaustion]\nwarnung = 0.5\n")
    with pytest.raises(UsageError, match=r"thresholds\.fd-exhaustion\.warnung"):
        config.load(str(file), THRESHOLDS)


def test_every_id_and_threshold_is_explained():
    text = DOCS.read_text()
    headings = {line.removeprefix("## ").strip() for line in text.splitlines() if line.startswith("## ")}
    ids = {rule for rules in (THRESHOLDS, dict.fromkeys(effect for _, e, _ in LINKS for effect in e)) for rule in rules}
    ids |= {
        "missing-library",
        "symbol-version-missing",
        "binary-replaced",
        "log-volatile",
        "log-rate-limited",
        "already-traced",
    }
    assert ids <= headings
    for rule, values in THRESHOLDS.items():
        section = text.split(f"## {rule}\n")[1].split("\n## ")[0]
        for name in values:
            assert f"`{name}`" in section, (rule, name)
