"""The hot-swap benchmark detects mixtures of versions and responses of inactive versions."""

from __future__ import annotations

from benchmarks.hot_swap import ServedAnswer, SwapLog, summarize_swaps

ALONE = {f"reviews@{n}": ServedAnswer(f"reviews@{n}", "fun", (-0.1 * n, -0.2)) for n in (1, 2)}
SWAPS = [("reviews@1", 0.0, 0.0), ("reviews@2", 5.0, 5.01)]


def said(version: int, *numbers: float) -> ServedAnswer:
    return ServedAnswer(f"reviews@{version}", "fun", numbers or ALONE[f"reviews@{version}"].logprobs)


def found(*answers: tuple[float, float, ServedAnswer]) -> tuple[int, int]:
    summary = summarize_swaps(SwapLog(list(answers), SWAPS, [0.02]), ALONE)
    return summary["mixtures"], summary["late"]


def test_correct_responses_count_neither_as_mixtures_nor_as_late() -> None:
    right = ((1.0, 2.0, said(1)), (4.0, 6.0, said(1)), (4.0, 6.0, said(2)), (5.005, 6.0, said(1)), (6.0, 7.0, said(2)))
    assert found(*right) == (0, 0)
    summary = summarize_swaps(SwapLog(list(right), SWAPS, [0.02], ["500"]), ALONE)
    assert (summary["requests"], summary["swaps"], summary["errors"]) == (6, 1, 1)
    assert summary["swap_ms"] == {"median": 10.0, "worst": 10.0}


def test_responses_that_match_no_version_count_as_mixtures() -> None:
    assert found((1.0, 2.0, said(1, -0.1, -0.3))) == (1, 0)
    assert found((1.0, 2.0, said(1, -0.2, -0.2))) == (1, 0)
    assert found((1.0, 2.0, said(1, -0.1))) == (1, 0)


def test_responses_of_inactive_versions_are_counted_as_late() -> None:
    assert found((1.0, 2.0, said(2))) == (0, 1)
    assert found((6.0, 7.0, said(1))) == (0, 1)
