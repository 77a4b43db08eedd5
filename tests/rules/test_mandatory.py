"""Denials of security modules."""

from __future__ import annotations

import pytest
from gotriage.records.security import Security, SecurityRow


def denial(story, **more):
    fields = {"what": "denial", "module": "selinux", "name": "/etc/orders/key", "operation": "open", "kind": "file",
              "subject": "u:r:orders_t:s0", "label": "u:object_r:user_home_t:s0", "expected": "u:object_r:etc_t:s0",
              "count": 3, "last_at": story.time(), "first_at": story.time(), "comm": "orders", "pid": 7,
              "cure": "restorecon -v /etc/orders/key"}  # fmt: skip
    return SecurityRow(**{**fields, **more})


def test_it_goes_without_what_it_was_denied(running):
    running.add(Security, selinux="enforcing", rows=(denial(running),))
    found = running.finding("selinux-denied")
    assert (found.severity, found.fix, found.view) == ("warning", "restorecon -v /etc/orders/key", "security")
    assert found.title == "SELinux denies it open /etc/orders/key"
    assert found.evidence[1:] == (
        "u:r:orders_t:s0 on u:object_r:user_home_t:s0 (file)",
        "by the policy the file should be u:object_r:etc_t:s0",
    )


def test_a_service_that_is_down_has_its_reason(story):
    story.down().add(Security, selinux="enforcing", rows=(denial(story),))
    assert story.finding("selinux-denied").severity == "critical"


def test_a_permissive_module_only_says_so(running):
    running.add(Security, selinux="permissive", rows=(denial(running, permissive=True),))
    found = running.finding("selinux-denied")
    assert (found.severity, found.title) == ("info", "SELinux would deny it open /etc/orders/key")


@pytest.mark.parametrize(
    ("module", "rule"),
    [("apparmor", "apparmor-denied"), ("seccomp", "seccomp-refused"), ("landlock", "landlock-denied")],
)
def test_the_other_modules(running, module, rule):
    running.add(Security, rows=(denial(running, module=module),))
    assert running.ids() == [rule]


def test_an_old_denial_does_not_count(running):
    rows = (denial(running),)
    running.now = 4000.0
    running.add(Security, selinux="enforcing", rows=rows)
    assert running.fine("selinux-denied").text == "SELinux enforcing, nothing denied"


def test_what_is_not_known(running):
    running.add(Security, selinux="enforcing").gap("security.denials", "/dev/kmsg: permission denied", "be root")
    assert running.unknown("selinux-denied").remedy == "be root"


def test_a_denial_of_another_life_is_not_its_own(running):
    story = running.target(age=60)
    story.add(Security, selinux="enforcing", rows=(denial(story, last_at=story.time(-300)),))
    assert story.ids() == []


def test_where_nothing_could_refuse_it_nothing_is_unknown(running):
    running.add(Security, selinux="disabled", seccomp=0).gap("security.denials", "/dev/kmsg: permission denied")
    assert running.fine("selinux-denied").text == "SELinux disabled, nothing denied"
