"""The soak benchmark detects growing memory, failures and remaining sequences."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.soak import ResourceLog, summarize_soak


def noted(*memory: float, rows: float = 0) -> ResourceLog:
    return ResourceLog(
        [{"seconds": 60.0 * i, "rss": each, "prompts": 1.0, "files": 9, "rows": rows} for i, each in enumerate(memory)]
    )


def test_memory_growth_is_measured_at_the_end_of_the_run() -> None:
    assert noted(100, 300, 400, 400, 400, 400).mebibytes_per_hour == 0  # what is filled once
    assert noted(400, 400, 400, 400, 401, 402, 403, 404).mebibytes_per_hour == pytest.approx(60)


def test_failures_and_remaining_sequences_are_reported() -> None:
    counts = Counter({"chat: 200": 8, "chat: 500": 1, "list: 503": 2, "mistake: 400": 3, "vanishing: gone": 5})
    found = summarize_soak(counts, noted(100, 120, 110, rows=2))
    assert found["failed"] == {"chat: 500": 1, "list: 503": 2}
    assert found["rows_left"] == 2
    assert (found["requests"], found["rss_first"], found["rss_last"], found["rss_most"]) == (19, 100, 110, 120)
