"""What is typed against a denial, and what the tools of SELinux say."""

from __future__ import annotations

import pytest
from gotriage.collectors.security import cure_of, parse_ports
from gotriage.host.audit import parse

from tests.host.test_audit import APPARMOR, AVC, BIND, SECCOMP


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
