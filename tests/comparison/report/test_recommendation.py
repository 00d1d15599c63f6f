"""What is recommended, and that no sentence claims more than the paired tests show."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from softprompt.comparison.report import recommend
from tests.comparison.report.samples import classifying, decide, failing, finished, writing

PLAIN = ("hard", "prefix", "lora", "full")


def plain(**changed: Any) -> dict[str, Any]:
    return classifying(PLAIN, thorough=False) | changed


def said(advice: dict[str, Any]) -> str:
    return " ".join([advice["words"], *advice["reasons"], *advice["changes"]])


def test_the_cheapest_to_live_with_is_taken_of_those_not_told_from_the_best():
    advice = recommend(plain())
    assert (
        advice["way"] == "prefix"
    )  # full fine-tuning is 0.4 points ahead, which is not shown, and stores 300 times more
    assert advice["words"] == (
        "Use prefix tuning: it is right on 91.2% of the test set (worst seed 90.7%), 10.0 points more than the hard "
        "prompt (95% interval 8.8 to 11.2). Full fine-tuning has the best mean, 91.6%, but is not shown to be better "
        "(difference 0.4 points, 95% interval −0.8 to 1.6)."
    )


def test_labels_that_a_way_never_answers_are_named():
    report = plain()
    report["ways"]["prefix"]["confusion"] = [[700, 0], [50, 0]]
    assert "It never answers positive, which the test set has." in recommend(report)["reasons"]
    assert not any("never answers" in words for words in recommend(plain())["reasons"])


def test_of_macro_f1_a_difference_is_in_points_of_the_labels_mean_recall():
    report = plain(metric="macro_f1")
    for way in report["ways"].values():
        way["macro_f1"] = way["accuracy"]
    words = recommend(report)["words"]
    assert "has a macro F1 of 91.2% on the test set" in words
    assert "better by 10.0 points of the labels' mean recall" in words


def test_a_way_shown_to_be_better_is_taken_whatever_it_costs():
    report = plain()
    for other in ("prefix", "lora"):
        decide(report, "full", other, 0.03, "better")
    advice = recommend(report)
    assert advice["way"] == "full"
    assert advice["words"].endswith("It is shown to be better than every other way that was judged.")
    assert "If 91.4% is enough, LoRA (rank 8) stores 9.8 MB for a task in place of 538 MB." in advice["changes"]


def test_nothing_is_trained_where_nothing_is_shown_to_beat_the_hard_prompt():
    report = plain()
    for name in ("prefix", "lora", "full"):
        decide(report, name, "hard", 0.01, "no difference shown")
    advice = recommend(report)
    assert advice["way"] == "hard"
    assert advice["words"].startswith("Use the hard prompt and train nothing: it is right on 81.2% of the test set.")
    assert any("do not train on these data" in words for words in advice["changes"])


def test_what_is_not_shown_to_beat_the_hard_prompt_is_not_worth_its_training():
    report = plain()
    decide(report, "prefix", "hard", 0.01, "no difference shown")
    assert recommend(report)["way"] == "lora"  # prefix tuning is as good as the best, but as the hard prompt too


def test_a_way_shown_to_be_worse_than_any_other_is_not_taken():
    report = plain()
    decide(report, "lora", "prefix", 0.002, "better")
    assert recommend(report)["way"] == "lora"


def test_an_api_is_taken_only_where_nothing_at_home_is_as_good():
    report = classifying(("hard", "prefix", "api"), thorough=False)
    advice = recommend(report)
    assert advice["way"] == "prefix"
    assert any("may leave the machine" in words for words in advice["changes"])
    for other in ("hard", "prefix"):
        decide(report, "api", other, 0.05, "better")
    report["ways"]["api"]["accuracy"]["mean"] = 0.96
    advice = recommend(report)
    assert advice["way"] == "api"
    assert any("250 requests, $0.022; 2 answers could not be read" in words for words in advice["reasons"])


@pytest.mark.parametrize(
    ("quantity", "prefix", "lora", "taken"),
    [
        ("bytes_per_task", 50_000_000, 40_000, "lora"),
        ("removable", False, True, "lora"),
        ("serving", {"50": {"rows_per_second": 4.0}}, {"50": {"rows_per_second": 30.0}}, "lora"),
        ("serving", {"50": {"rows_per_second": 30.0}}, {"50": {"rows_per_second": 31.0}}, "prefix"),  # about as fast
    ],
)
def test_storage_speed_and_removal_decide_between_equals(quantity: str, prefix: Any, lora: Any, taken: str):
    report = classifying(("prefix", "lora"), thorough=False)
    ways = report["ways"]
    for way in ways.values():
        way["bytes_per_task"], way["accuracy"]["mean"] = 1_000_000, 0.9
    ways["prefix"]["accuracy"]["mean"] = 0.901  # the last to decide
    ways["prefix"][quantity], ways["lora"][quantity] = prefix, lora
    assert recommend(report)["way"] == taken


def test_a_lower_perplexity_is_better():
    advice = writing()["recommendation"]
    assert advice["way"] == "full"
    assert (
        "a perplexity of 11.20 on the test set (worst seed 11.50), against 61.20 of the hard prompt" in advice["words"]
    )
    assert "1.698 of loss per token" in advice["words"]


def test_failed_ways_are_named_and_not_judged():
    advice = failing()["recommendation"]
    assert advice["way"] == "prefix"
    assert sum("failed and was not judged" in words for words in advice["changes"]) == 2


def test_where_all_failed_nothing_is_recommended():
    advice = failing(every=True)["recommendation"]
    assert advice["way"] is None
    assert "every one of them failed" in advice["words"]
    assert advice["reasons"] == []
    assert len(advice["changes"]) == 4


def test_a_single_way_is_recommended_with_reserve():
    advice = classifying(("prefix",), seeds=1, thorough=False)["recommendation"]
    assert advice["way"] == "prefix"
    assert "only way that was judged" in advice["words"]
    assert "worst seed" not in said(advice)
    assert any("1 seed only" in words for words in advice["changes"])


def test_a_mean_that_is_no_number_is_not_judged():
    report = plain()
    report["ways"]["full"]["accuracy"]["mean"] = math.nan
    advice = recommend(report)
    assert advice["way"] == "prefix"
    assert any("Full fine-tuning failed" in words for words in advice["changes"])


def test_each_thing_that_would_change_it_is_said():
    report = classifying()
    report["ways"]["prefix"]["accuracy"]["worst"] = 0.85
    report["ways"]["prefix"]["learning_rate"]["chosen"] = 0.003
    report["data"]["overlap"]["training and test"] = 12
    changes = "\n".join(recommend(report)["changes"])
    for words in (
        "A larger test set than 250 examples could decide",
        "With one task only, it does not matter that full fine-tuning stores 538 MB",
        "With 64 examples to train on, linear head alone is ahead in mean",
        "Outside of the training's domain full fine-tuning is ahead in mean",
        "Its worst seed is at 85.0% where the mean is 91.2%",
        "Its learning rate, 0.003, is the largest of those tried",
        "Of the test set 12 texts also stand in the training data",
    ):
        assert words in changes


def test_reasons_speak_of_quality_storage_serving_forgetting_and_training():
    reasons = recommend(plain())["reasons"]
    begins = [words.partition(":")[0].partition(" ")[0] for words in reasons]
    assert begins == ["Quality", "Shown", "Storing", "Serving", "Forgetting", "Training"]


@pytest.mark.parametrize("differences", [0.0, 0.02, -0.02])
def test_better_is_never_claimed_where_it_is_not_shown(differences: float):
    report = plain()
    for one in PLAIN:
        for other in PLAIN:
            if one < other:
                decide(report, one, other, differences, "no difference shown")
    advice = recommend(report)
    claims = re.findall(r"[^.;:]*better[^.;:]*", said(advice))
    for claim in claims:
        assert re.search(
            r"not shown to be better|[Bb]etter in mean, but not|Nothing that was trained is shown", claim
        ), claim


def test_what_was_not_measured_is_not_spoken_of():
    report = plain()
    for way in report["ways"].values():
        way |= {"serving": None, "forgetting": None, "seconds": None, "search_seconds": None, "learning_rate": None}
    reasons = finished(report)["recommendation"]["reasons"]
    assert not any(words.startswith(("Serving", "Training", "Forgetting")) for words in reasons)
