"""What the kernel's audit records tell of refusals."""

from __future__ import annotations

import pytest
from gotriage.host import audit

AVC = (
    'type=AVC msg=audit(1732391362.123:456): avc:  denied  { open } for  pid=713 comm="svc"'
    ' path="/sys/kernel/mm/transparent_hugepage/hpage_pmd_size" dev="sysfs" ino=2519'
    " scontext=system_u:system_r:chronyd_t:s0 tcontext=system_u:object_r:sysfs_t:s0 tclass=file permissive=1"
)
BIND = (
    "audit: type=1400 audit(1732391362.200:457): avc:  denied  { name_bind } for  pid=713 comm=737663206F6E65 src=8181"
    " scontext=system_u:system_r:httpd_t:s0 tcontext=system_u:object_r:unreserved_port_t:s0"
    " tclass=tcp_socket permissive=0"
)
APPARMOR = (
    'audit: type=1400 audit(1732391363.001:12): apparmor="DENIED" operation="open" class="file"'
    ' profile="/usr/bin/orders" name="/etc/orders/key.pem" pid=99 comm="orders"'
    ' requested_mask="r" denied_mask="r" fsuid=0 ouid=0'
)
SECCOMP = (
    "audit: type=1326 audit(1795609654.147:2): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=3721"
    ' comm="python3" exe="/usr/bin/python3.11" sig=31 arch=c000003e'
    " syscall=102 compat=0 ip=0x7f57d24f3507 code=0x80000000"
)


def parsed(*lines):
    domains = {}
    found = [audit.parse(line, domains) for line in lines]
    return found[-1]


def test_a_denial_of_selinux():
    one = parsed(AVC)
    assert (one.module, one.operation, one.kind, one.pid, one.comm, one.permissive) == (
        "selinux", "open", "file", 713, "svc", True,
    )  # fmt: skip
    assert one.name == "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"
    assert (one.subject, one.label) == ("system_u:system_r:chronyd_t:s0", "system_u:object_r:sysfs_t:s0")
    assert one.at.isoformat() == "2024-11-23T19:49:22.123000+00:00"


def test_a_port_and_a_name_in_hexadecimal():
    one = parsed(BIND)
    assert (one.port, one.name, one.comm, one.permissive) == (8181, "port 8181", "svc one", False)


def test_a_denial_of_apparmor():
    one = parsed(APPARMOR)
    assert (one.module, one.subject, one.name, one.mask) == (
        "apparmor", "/usr/bin/orders", "/etc/orders/key.pem", "r",
    )  # fmt: skip


def test_a_call_that_a_filter_kills_for():
    one = parsed(SECCOMP)
    assert (one.module, one.kind, one.exe, one.pid) == ("seccomp", "killed", "/usr/bin/python3.11", 3721)


def test_landlock_names_who_by_the_domain():
    head = 'audit: type=1424 audit(1.1:1): domain=195ba459b status=allocated mode=enforcing pid=300 uid=0 comm="box"'
    one = parsed(
        head, 'audit: type=1423 audit(1.1:1): domain=195ba459b blockers=fs.read_file path="/etc/key" dev="x" ino=1'
    )
    assert (one.module, one.pid, one.operation, one.name) == ("landlock", 300, "fs.read_file", "/etc/key")


@pytest.mark.parametrize(
    "line",
    ["", "audit(1.1:1):", "type=1400 audit(x.1:1): avc: denied { open }", "type=1300 audit(1.1:1): pid=x", "type=AVC",
     'type=1400 audit(1.1:1): apparmor="STATUS" operation="profile_load"'],
)  # fmt: skip
def test_other_lines_are_none(line):
    assert parsed(line) is None


def test_control_characters_are_made_visible():
    assert "\x1b" not in parsed(AVC.replace("hpage_pmd_size", "\x1b]0;x")).name
