"""Quantities as the report writes them."""

from __future__ import annotations

import pytest

from softprompt.comparison.report import formatters as q


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (q.format_metric(0.912, "accuracy"), "91.2%"),
        (q.format_metric(12.314, "perplexity"), "12.31"),
        (q.format_metric(61_234.5, "perplexity"), "61,234"),
        (q.format_metric(None, "accuracy"), "–"),
        (q.format_points(-0.0996, "accuracy"), "−10.0 points"),
        (q.format_points(0.01, "accuracy"), "1.0 point"),
        (q.format_points(0.03, "perplexity"), "0.030 of loss per token"),
        (q.format_difference(-0.0001, "accuracy", signed=True), "0.0"),
        (q.format_difference(0.02, "accuracy", signed=True), "+2.0"),
        (q.format_bytes(0), "0 B"),
        (q.format_bytes(999), "999 B"),
        (q.format_bytes(999_999), "1.0 MB"),
        (q.format_bytes(538_060_032), "538 MB"),
        (q.format_bytes(3e13), "30.0 TB"),
        (q.format_duration(0.041), "41 ms"),
        (q.format_duration(59.97), "1 min"),
        (q.format_duration(151.2), "2 min 31 s"),
        (q.format_duration(3599.9), "1 h"),
        (q.format_duration(8280), "2 h 18 min"),
        (q.format_percent(0.0000086), "0.00086%"),
        (q.pluralize(1, "seed"), "1 seed"),
        (q.format_rate(120.4), "120"),
        (q.join_words([]), ""),
        (q.join_words(["a"]), "a"),
        (q.join_words(["a", "b", "c"]), "a, b and c"),
        (q.join_words(["a (b, c)", "d", "e"]), "a (b, c); d and e"),
    ],
)
def test_quantities_are_formatted_readably(written: str, expected: str):
    assert written == expected
