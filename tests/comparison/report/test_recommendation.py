"""The recommendation, of which no sentence claims more than the paired tests show."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from tests.comparison.report.sample_reports import advise, classifying, decide, failing, finished, writing

PLAIN = ("hard", "prefix", "lora", "full")


def plain(**changed: Any) -> dict[str, Any]:
    return classifying(PLAIN, thorough=False) | changed


def said(advice: dict[str, Any]) -> str:
    return " ".join([advice["summary"], *advice["reasons"], *advice["caveats"]])


def test_the_cheapest_method_tied_with_the_best_is_recommended():
    advice = advise(plain())
    assert (
        advice["method"] == "prefix"
    )  # full fine-tuning is 0.4 points ahead, which is not shown, and stores 300 times more
    assert advice["summary"] == (
        "Use prefix tuning: it is right on 91.2% of the test set (worst seed 90.7%), 10.0 points more than the hard "
        "prompt (95% interval 8.8 to 11.2). Full fine-tuning has the best mean, 91.6%, but is not shown to be better "
        "(difference 0.4 points, 95% interval −0.8 to 1.6)."
    )


def test_labels_that_the_recommended_method_never_predicts_are_reported():
    report = plain()
    report["methods"]["prefix"]["confusion_matrix"] = [[700, 0], [50, 0]]
    assert "It never answers positive, which the test set has." in advise(report)["reasons"]
    assert not any("never answers" in words for words in advise(plain())["reasons"])


def test_a_macro_f1_difference_is_in_points_of_mean_recall():
    report = plain(headline_metric="macro_f1")
    for method in report["methods"].values():
        method["metrics"]["macro_f1"] = method["metrics"]["accuracy"]
    words = advise(report)["summary"]
    assert "has a macro F1 of 91.2% on the test set" in words
    assert "better by 10.0 points of the labels' mean recall" in words


def test_a_method_shown_to_be_better_is_recommended_whatever_it_costs():
    report = plain()
    for other in ("prefix", "lora"):
        decide(report, "full", other, 0.03, "better")
    advice = advise(report)
    assert advice["method"] == "full"
    assert advice["summary"].endswith("It is shown to be better than every other method that was scored.")
    assert "If 91.4% is enough, LoRA (rank 8) stores 9.8 MB for a task instead of 538 MB." in advice["caveats"]


def test_the_hard_prompt_is_recommended_if_no_method_is_shown_to_beat_it():
    report = plain()
    for name in ("prefix", "lora", "full"):
        decide(report, name, "hard", 0.01, "no difference shown")
    advice = advise(report)
    assert advice["method"] == "hard"
    assert advice["summary"].startswith("Use the hard prompt and train nothing: it is right on 81.2% of the test set.")
    assert any("do not train on these data" in words for words in advice["caveats"])


def test_a_method_that_is_not_shown_to_beat_the_hard_prompt_is_not_recommended():
    report = plain()
    decide(report, "prefix", "hard", 0.01, "no difference shown")
    assert advise(report)["method"] == "lora"  # prefix tuning is as good as the best, but as the hard prompt too


def test_a_method_shown_to_be_worse_than_another_is_not_recommended():
    report = plain()
    decide(report, "lora", "prefix", 0.002, "better")
    assert advise(report)["method"] == "lora"


def test_an_api_is_recommended_only_if_no_local_method_is_as_good():
    report = classifying(("hard", "prefix", "api"), thorough=False)
    advice = advise(report)
    assert advice["method"] == "prefix"
    assert any("may leave the machine" in words for words in advice["caveats"])
    for other in ("hard", "prefix"):
        decide(report, "api", other, 0.05, "better")
    report["methods"]["api"]["metrics"]["accuracy"]["mean"] = 0.96
    advice = advise(report)
    assert advice["method"] == "api"
    assert any("250 requests, $0.022; 2 replies could not be read" in words for words in advice["reasons"])


def served(requests_per_second: float) -> dict[str, Any]:
    return {"50": {"latency_seconds": 0.1, "requests_per_second": requests_per_second}}


@pytest.mark.parametrize(
    ("quantity", "prefix", "lora", "taken"),
    [
        ("stored_bytes_per_task", 50_000_000, 40_000, "lora"),
        ("shares_base_weights", False, True, "lora"),
        ("serving", served(4.0), served(30.0), "lora"),
        (
            "serving",
            served(30.0),
            served(31.0),
            "prefix",
        ),  # about as fast
    ],
)
def test_storage_serving_speed_and_shared_weights_decide_between_equal_methods(
    quantity: str, prefix: Any, lora: Any, taken: str
):
    report = classifying(("prefix", "lora"), thorough=False)
    methods = report["methods"]
    for method in methods.values():
        method["stored_bytes_per_task"], method["metrics"]["accuracy"]["mean"] = 1_000_000, 0.9
    methods["prefix"]["metrics"]["accuracy"]["mean"] = 0.901  # the last to decide
    methods["prefix"][quantity], methods["lora"][quantity] = prefix, lora
    assert advise(report)["method"] == taken


def test_the_method_with_the_lowest_perplexity_is_recommended():
    advice = writing()["recommendation"]
    assert advice["method"] == "full"
    assert (
        "a perplexity of 11.20 on the test set (worst seed 11.50), against 61.20 of the hard prompt"
        in advice["summary"]
    )
    assert "1.698 of loss per token" in advice["summary"]


def test_failed_methods_are_reported_and_not_scored():
    advice = failing()["recommendation"]
    assert advice["method"] == "prefix"
    assert sum("failed and was not scored" in words for words in advice["caveats"]) == 2


def test_no_method_is_recommended_if_all_failed():
    advice = failing(every=True)["recommendation"]
    assert advice["method"] is None
    assert "all of them failed" in advice["summary"]
    assert advice["reasons"] == []
    assert len(advice["caveats"]) == 4


def test_a_single_method_is_recommended_with_caveats():
    advice = classifying(("prefix",), seeds=1, thorough=False)["recommendation"]
    assert advice["method"] == "prefix"
    assert "only method that was scored" in advice["summary"]
    assert "worst seed" not in said(advice)
    assert any("only 1 seed" in words for words in advice["caveats"])


def test_a_method_whose_mean_is_nan_counts_as_failed():
    report = plain()
    report["methods"]["full"]["metrics"]["accuracy"]["mean"] = math.nan
    advice = advise(report)
    assert advice["method"] == "prefix"
    assert any("Full fine-tuning failed" in words for words in advice["caveats"])


def test_the_recommendation_lists_its_caveats():
    report = classifying()
    report["methods"]["prefix"]["metrics"]["accuracy"]["worst"] = 0.85
    report["methods"]["prefix"]["learning_rates"]["best"] = 0.003
    report["data"]["overlap"]["training and test"] = 12
    changes = "\n".join(advise(report)["caveats"])
    for words in (
        "A test set of more than 250 examples could decide",
        "With a single task it does not matter that full fine-tuning stores 538 MB",
        "With 64 training examples, linear head alone is ahead in the mean",
        "Outside the training domain full fine-tuning is ahead in the mean",
        "Its worst seed is at 85.0%, while the mean is 91.2%",
        "Its learning rate, 0.003, is the largest of those tried",
        "12 texts of the test set also occur in the training data",
    ):
        assert words in changes


def test_reasons_cover_quality_storage_serving_forgetting_and_training():
    reasons = advise(plain())["reasons"]
    begins = [words.partition(":")[0].partition(" ")[0] for words in reasons]
    assert begins == ["Quality", "Shown", "Storage", "Serving", "Forgetting", "Training"]


@pytest.mark.parametrize("differences", [0.0, 0.02, -0.02])
def test_no_sentence_claims_an_improvement_that_is_not_shown(differences: float):
    report = plain()
    for one in PLAIN:
        for other in PLAIN:
            if one < other:
                decide(report, one, other, differences, "no difference shown")
    advice = advise(report)
    claims = re.findall(r"[^.;:]*better[^.;:]*", said(advice))
    for claim in claims:
        assert re.search(r"not shown to be better|[Bb]etter in the mean, but not|No trained method is shown", claim), (
            claim
        )


def test_missing_measurements_are_not_mentioned():
    report = plain()
    for method in report["methods"].values():
        method |= {
            "serving": None,
            "forgetting": None,
            "train_seconds": None,
            "search_seconds": None,
            "learning_rates": None,
        }
    reasons = finished(report)["recommendation"]["reasons"]
    assert not any(words.startswith(("Serving", "Training", "Forgetting")) for words in reasons)


def repeating(**num_tokens: int) -> dict[str, Any]:
    """Make a report of methods that repeat tokens in each request, none shown to be better than another."""
    report = classifying(tuple(num_tokens), thorough=False)
    for name, count in num_tokens.items():
        method = report["methods"][name]
        method["metrics"]["accuracy"]["mean"], method["num_request_tokens"] = 0.9, count
        for other in num_tokens.keys() - {name}:
            decide(report, name, other, 0.0, "no difference shown")
    return report


def test_repeated_tokens_are_a_reason_and_methods_without_them_a_caveat():
    report = repeating(**{"few-shot": 512, "prefix": 0, "lora": 0})
    advice = advise(report)
    assert advice["method"] == "few-shot"
    assert "Requests: 512 tokens before each input (prefix tuning: 0; LoRA (rank 8): 0)." in advice["reasons"]
    saving = "Each request repeats 512 tokens before its input: prefix tuning and LoRA (rank 8) repeat none"
    assert any(words.startswith(saving) and "not shown to be worse" in words for words in advice["caveats"])
    assert not any("do not train" in words for words in advice["caveats"])
    decide(report, "few-shot", "prefix", 0.1, "better")
    decide(report, "few-shot", "lora", 0.1, "better")
    caveats = advise(report)["caveats"]
    assert not any("repeat" in words for words in caveats)
    assert any("do not train on these data" in words for words in caveats)


def test_repeated_tokens_are_not_mentioned_where_no_request_repeats_any():
    advice = advise(repeating(hard=0, prefix=0))
    assert "Requests:" not in said(advice)
    assert "repeat" not in said(advice)
    assert any("do not train on these data" in words for words in advice["caveats"])
