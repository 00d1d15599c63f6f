"""Quantities as the report writes them."""

from __future__ import annotations

import pytest

from softprompt.comparison.report import quantities as q


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (q.figure(0.912, "accuracy"), "91.2%"),
        (q.figure(12.314, "perplexity"), "12.31"),
        (q.figure(61_234.5, "perplexity"), "61,234"),
        (q.figure(None, "accuracy"), "–"),
        (q.points(-0.0996, "accuracy"), "−10.0 points"),
        (q.points(0.01, "accuracy"), "1.0 point"),
        (q.points(0.03, "perplexity"), "0.030 of loss per token"),
        (q.spaced(-0.0001, "accuracy", signed=True), "0.0"),
        (q.spaced(0.02, "accuracy", signed=True), "+2.0"),
        (q.size(0), "0 B"),
        (q.size(999), "999 B"),
        (q.size(999_999), "1.0 MB"),
        (q.size(538_060_032), "538 MB"),
        (q.size(3e13), "30.0 TB"),
        (q.duration(0.041), "41 ms"),
        (q.duration(59.97), "1 min"),
        (q.duration(151.2), "2 min 31 s"),
        (q.duration(3599.9), "1 h"),
        (q.duration(8280), "2 h 18 min"),
        (q.share(0.0000086), "0.00086%"),
        (q.many(1, "seed"), "1 seed"),
        (q.rate(120.4), "120"),
        (q.listed([]), ""),
        (q.listed(["a"]), "a"),
        (q.listed(["a", "b", "c"]), "a, b and c"),
        (q.listed(["a (b, c)", "d", "e"]), "a (b, c); d and e"),
    ],
)
def test_a_quantity_is_written_for_people(written: str, expected: str):
    assert written == expected
