"""Numbers as people read them; what is not known is a dash and never a zero."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from gotriage.records.runtime import Bucket, quantile
from gotriage.render import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0B"),
        (512, "512B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (222298112, "212M"),
        (1 << 40, "1.0T"),
        (-2048, "-2.0K"),
        (1 << 60, "1024.0P"),
    ],
)
def test_sizes(value, text):
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0s"),
        (0.0004, "400µs"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (5, "5s"),
        (59.9, "59s"),
        (192, "3m12s"),
        (11520, "3h12m"),
        (200000, "2d07h"),
        (-5, "-5s"),
    ],
)
def test_durations(value, text):
    assert units.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0, "0 %"), (0.31, "31 %"), (0.041, "4.1 %"), (1, "100 %")])
def test_shares(value, text):
    assert units.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0, "+0/min"), (0.63, "+38/min"), (-0.01, "-0.6/min")])
def test_growth(value, text):
    assert units.per_minute(value) == text


def test_counts_and_rates():
    assert units.count(1021) == "1,021"
    assert units.rate(0.63) == "0.6/s"
    assert units.rate(1234) == "1,234/s"
    assert units.cores(0.253) == "0.25"
    assert {units.count(None), units.rate(None), units.cores(None), units.clock(None), units.timestamp(None)} == {"–"}


def test_times_are_local(monkeypatch):
    assert len(units.clock(datetime(2026, 11, 23, 20, 0, tzinfo=UTC))) == 8


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((1, "thread"), "1 thread"),
        ((0, "thread"), "0 threads"),
        ((1021, "thread"), "1,021 threads"),
        ((2, "process"), "2 processes"),
        ((1, "library", "libraries"), "1 library"),
        ((2, "library", "libraries"), "2 libraries"),
        ((None, "thread"), "– threads"),
    ],
)
def test_things_are_counted_in_words(given, text):
    assert units.counted(*given) == text


def test_a_quantile_of_a_histogram():
    buckets = (Bucket(1e-6, 90), Bucket(1e-3, 9), Bucket(1.0, 1))
    assert quantile((), 0.5) is None
    assert quantile(buckets, 0.5) == 1e-6
    assert quantile(buckets, 0.99) == 1e-3
    assert quantile(buckets, 1.0) == 1.0
