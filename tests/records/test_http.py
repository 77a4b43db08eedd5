"""The scale of durations, routes of paths, and what counts as an error."""

from __future__ import annotations

from itertools import pairwise

import pytest
from gotriage.records.http import SLOTS, HttpRoute, is_client_error, is_error, quantile, slot_start, trimmed
from gotriage.records.routes import route_of


def test_slots_grow_by_a_quarter_at_most_and_reach_two_minutes():
    starts = [slot_start(slot) for slot in range(SLOTS)]
    assert starts == sorted(set(starts))
    assert max(after / before for before, after in pairwise(starts[4:])) <= 1.25
    assert starts[1] == pytest.approx(1.024e-6)
    assert 100 < starts[-1] < 150


def test_quantiles():
    assert quantile([], 0.5) is None
    assert quantile([0, 0], 0.5) is None
    slots = [0] * 40
    slots[20], slots[30] = 98, 2
    assert slot_start(20) <= quantile(slots, 0.5) <= slot_start(21)
    assert slot_start(30) <= quantile(slots, 0.99) <= slot_start(31)
    assert quantile([4], 1.0) == pytest.approx(slot_start(1))
    assert trimmed([0, 3, 0, 0]) == (0, 3)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/users/123/posts/4", "/users/{n}/posts/{n}"),
        ("/v2/x", "/v2/x"),
        ("/img-3.png", "/img-{n}.png"),
        ("/2024-01-02", "/{n}-{n}-{n}"),
        ("/blobs/9f86d081884c7d65", "/blobs/{hex}"),
        ("/550E8400-e29b-41d4-a716-446655440000/x", "/{hex}/x"),
        ("/deadbeef", "/deadbeef"),
        ("/app.bundle.3f2a1b9c.js", "/{id}"),
        ("/" + "9" * 30, "/{id}"),
        ("/a1b2/3x/", "/a1b2/{n}x/"),
        ("*", "*"),
    ],
)
def test_what_looks_like_an_identifier_is_replaced(path, route):
    assert route_of(path) == route


def test_errors():
    assert [is_error(status) for status in ("200", "404", "500", "5", "no answer", "panic", "5xx")] == [
        False, False, True, False, True, True, True,
    ]  # fmt: skip
    assert [is_client_error(status) for status in ("499", "4xx", "500", "40")] == [True, True, False, False]


def test_shares_of_a_row_without_calls_are_not_known():
    row = HttpRoute(recent=0)
    assert row.error_share is None
    assert row.client_error_share is None
