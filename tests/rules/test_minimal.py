"""What a program takes for granted: rules on rows and on the words of its log."""

from __future__ import annotations

import pytest
from gotriage.records.minimal import Condition, Minimal

GOOD = (
    Condition(group="kernel", name="kernel", value="6.1.0; needs 3.2"),
    Condition(group="kernel", name="random numbers", value="ready"),
    Condition(group="devices", name="/dev/null", value="device"),
    Condition(group="devices", name="/dev/zero", state="note", value="missing"),
    Condition(group="time", name="local time", value="UTC (no TZ, no /etc/localtime)"),
    Condition(group="time", name="time zones", state="note", value="none in the root, none in the program"),
)
RULES = ("zoneinfo-missing", "entropy-or-device-missing", "kernel-too-old")


def seen(story, *rows):
    names = {row.name for row in rows}
    every = (*rows, *(row for row in GOOD if row.name not in names))
    return story.add(Minimal, rows=every, kernel="6.1.0", kernel_least="3.2", zone="UTC", go_version="go1.24.3")


def test_what_is_unusual_is_no_finding(running):
    assert seen(running).ids() == []
    assert running.fine("kernel-too-old").text == "kernel 6.1.0, needs 3.2"
    assert running.fine("zoneinfo-missing").text == "local time UTC"


@pytest.mark.parametrize(
    ("line", "rule", "subject"),
    [
        ("unknown time zone Europe/Berlin", "zoneinfo-missing", "Europe/Berlin"),
        ("open /dev/null: no such file or directory", "entropy-or-device-missing", "/dev/null"),
        ("crypto/rand: blocked for 60 seconds waiting to read random data from the kernel",
         "entropy-or-device-missing", "getrandom"),
        ("FATAL: kernel too old", "kernel-too-old", "web.service"),
    ],
)  # fmt: skip
def test_the_words_of_its_log(running, line, rule, subject):
    seen(running).log(line, 5).beat(9)
    found = running.finding(rule)
    assert found.subject == subject
    assert any("the log says so once" in sentence for sentence in found.evidence)
    running.beat(400)
    assert running.ids() == []


def test_what_is_down_since_is_critical(story):
    story.log("unknown time zone Europe/Berlin", 5)
    assert story.down().finding("zoneinfo-missing").severity == "critical"


def test_random_numbers_that_are_not_ready(running):
    row = Condition(group="kernel", name="random numbers", state="fault", value="not ready", fix="rngd")
    assert seen(running, row).finding("entropy-or-device-missing").severity == "critical"


def test_a_device_that_the_log_and_the_look_tell_of_is_one_finding(running):
    row = Condition(group="devices", name="/dev/null", state="fault", value="missing", fix="mknod")
    seen(running, row).log("open /dev/null: no such file or directory", 5)
    assert running.ids() == ["entropy-or-device-missing"]
    assert len(running.finding("entropy-or-device-missing").evidence) == 2


def test_nothing_seen_is_unknown(running):
    for rule in RULES:
        assert rule not in running.ids()
    assert {*RULES} <= {name for claim in running.verdict().unknown for name in (claim.id, *claim.also)}
