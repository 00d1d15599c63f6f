"""`softprompt compose`, `softprompt similarity`, and ensembles of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Softprompt, Tune


@pytest.fixture
def two(tune: Tune, tmp_path: Path) -> list[Path]:
    """Two prompts for one task, tuned with different seeds."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for seed, folder in enumerate(folders):
        assert tune("--output", folder, "--seed", seed, "--max-steps", 2).code == 0
    return folders


def test_compose_saves_several_prompts_as_one(softprompt: Softprompt, two: list[Path], tmp_path: Path) -> None:
    both = tmp_path / "both"
    made = softprompt("compose", *two, "--output", both, "--json").json
    assert made["prompt"] == str(both)
    assert made["num_virtual_tokens"] == 2 * softprompt("show", two[0], "--json").json["num_virtual_tokens"]
    assert softprompt("classify", both, "lovely", "--json").json["results"][0]["label"] in ("good", "bad")
    softprompt("compose", *two, "--output", both).refused(str(both), "--overwrite")


def test_similarity_prints_a_symmetric_table_with_ones_on_the_diagonal(softprompt: Softprompt, two: list[Path]) -> None:
    found = softprompt("similarity", *two, "--json").json
    assert found["mean_token"][0][0] == pytest.approx(1, abs=1e-5)
    assert found["mean_token"][0][1] == pytest.approx(found["mean_token"][1][0], abs=1e-5)
    shown = softprompt("similarity", *two)
    assert (shown.code, "one" in shown.out, "two" in shown.out) == (0, True, True)
    softprompt("similarity", two[0]).refused("at least two")


def test_classify_and_evaluate_combine_the_predictions_of_several_prompts(
    softprompt: Softprompt, two: list[Path], reviews: Path
) -> None:
    each = [softprompt("classify", folder, "lovely", "--json").json["results"][0]["probabilities"] for folder in two]
    both = softprompt("classify", two[0], "lovely", "--with", two[1], "--json").json["results"][0]["probabilities"]
    assert both["good"] == pytest.approx((each[0]["good"] + each[1]["good"]) / 2, abs=1e-4)
    figures = softprompt("evaluate", two[0], "--with", two[1], "--combine", "vote", "--data", reviews, "--json").json
    assert 0 <= figures["accuracy"] <= 1
    softprompt("classify", two[0], "x", "--with", two[1], "--combine", "sum").refused(
        "unknown --combine sum", "mean, vote"
    )
