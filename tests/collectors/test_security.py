"""What is typed against a denial, and what the tools of SELinux say."""

from __future__ import annotations

import os

import pytest
from gotriage.collectors.security import SecurityCollector, cure_of, parse_ports
from gotriage.host import Host
from gotriage.host.audit import parse
from gotriage.records.security import Security

from tests.host.test_audit import APPARMOR, AVC, BIND, SECCOMP
from tests.real.targets import target_of


def cure(line, expected=""):
    return cure_of(parse(line, {}), expected)


@pytest.mark.parametrize(
    ("line", "expected", "words"),
    [
        (BIND, "", "semanage port -a -t http_port_t -p tcp 8181"),
        (BIND.replace("httpd_t", "orders_t"), "", "semanage port -a -t orders_port_t -p tcp 8181"),
        (BIND.replace("name_bind", "name_connect"), "", "setsebool -P httpd_can_network_connect 1"),
        (AVC, "system_u:object_r:etc_t:s0", "restorecon -v /sys/kernel/mm/transparent_hugepage/hpage_pmd_size"),
        (AVC, "", "what would allow it: ausearch"),
        (AVC.replace("chronyd_t", "container_t"), "", "mount the volume with :z"),
        (APPARMOR, "", "add '/etc/orders/key.pem r,' to the profile"),
        (SECCOMP, "", "let the call through: SystemCallFilter="),
    ],
)
def test_the_cure(line, expected, words):
    assert cure(line, expected).startswith(words)


def test_ports_of_the_policy():
    text = "http_port_t   tcp   8443, 80-81\nunreserved_port_t tcp 1024-32767\ndns_port_t udp 53\nnonsense\n"
    assert parse_ports(text) == {
        ("tcp", 8443): "http_port_t", ("tcp", 80): "http_port_t", ("tcp", 81): "http_port_t", ("udp", 53): "dns_port_t",
    }  # fmt: skip


def test_denials_of_audit_log_are_the_targets_own(tmp_path):
    (tmp_path / "sys/fs/selinux").mkdir(parents=True)
    (tmp_path / "sys/fs/selinux/enforce").write_text("1")
    (tmp_path / "etc/selinux").mkdir(parents=True)
    (tmp_path / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    (tmp_path / "var/log/audit").mkdir(parents=True)
    own = BIND.replace("audit: type=1400 audit", "type=AVC msg=audit").replace("pid=713", f"pid={os.getpid()}")
    again = own.replace(":457)", ":460)").replace("1732391362.200", "1732391999.000")
    (tmp_path / "var/log/audit/audit.log").write_text("\n".join([AVC, own, own, again, "\x1b[2J garbage", ""]))
    host = Host(sys=tmp_path / "sys", view=tmp_path)
    collector = SecurityCollector(host, target_of(os.getpid(), host=host))
    record = next(one for one in collector.collect() if isinstance(one, Security))
    collector.close()
    assert (record.selinux, record.policy) == ("enforcing", "targeted")
    denials = [row for row in record.rows if row.what == "denial" and row.module == "selinux"]
    assert [(row.name, row.count, row.cure) for row in denials] == [
        ("port 8181", 2, "semanage port -a -t http_port_t -p tcp 8181")
    ]
    assert {row.what for row in record.rows} >= {"denial", "process", "executable"}
