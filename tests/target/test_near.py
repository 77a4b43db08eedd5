"""Near matches for error texts."""

from __future__ import annotations

import pytest
from gotriage.target.near import near, near_text

UNITS = ["orders-api.service", "orders-worker.service", "nginx.service", "dbus.socket", "ssh.service", "x" * 300]


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("order-api", "orders-api.service"),
        ("orders-api", "orders-api.service"),
        ("ngnix.service", "nginx.service"),
        ("NGINX", "nginx.service"),
        ("worker", "orders-worker.service"),
        ("sshd", "ssh.service"),
    ],
)
def test_the_best_comes_first(name, best):
    assert near(name, UNITS)[0] == best


def test_nothing_is_near_what_is_far():
    assert near("postgresql", UNITS) == []
    assert near_text("postgresql", UNITS) == ""


def test_names_in_an_error_line_are_harmless_and_few():
    names = [f"web\x1b[31m-{number}" for number in range(20)]
    text = near_text("web-1", names)
    assert "\x1b" not in text
    assert text.count(",") == 3


def test_very_many_names_are_bounded():
    assert near("n-7", (f"n-{number}" for number in range(10**7)))[0] == "n-7"
