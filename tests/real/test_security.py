"""Real refusals by the kernel of real services: a seccomp filter that kills, seen in the kernel's audit records."""

from __future__ import annotations

import pytest

from tests.lab import toolchain
from tests.real.checks import check, ids

pytestmark = pytest.mark.real


def test_a_unit_that_its_filter_kills(sdlab, unit, in_lab):
    path = sdlab.install(toolchain.build("svc"), "/usr/local/bin/filtered")
    name = unit(command=f"{path} -listen=127.0.0.1:0", wait=False, name="filtered.service", start=False)
    sdlab.write(f"/etc/systemd/system/{name}.d/filter.conf", "[Service]\nSystemCallFilter=~listen\n")
    sdlab.systemctl("daemon-reload")
    sdlab.systemctl("start", name)
    sdlab.wait_state(name, "failed")
    found, status = check(*in_lab(name))
    refused = next(one for one in found if one["id"] == "seccomp-refused")
    assert (refused["severity"], status) == ("critical", 2)
    assert refused["title"] == "its seccomp filter killed it for the system call listen"
    assert refused["fix"].startswith("let the call through: SystemCallFilter=listen in the unit")
    (sdlab.root / f"etc/systemd/system/{name}.d/filter.conf").unlink()
    sdlab.systemctl("daemon-reload")
    sdlab.systemctl("restart", name)
    assert "seccomp-refused" not in ids(*in_lab(name))
