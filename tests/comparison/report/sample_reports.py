"""Reports as `softprompt compare` would write them, drawn from formulas: none of the metrics was measured."""

from __future__ import annotations

import math
from typing import Any

from softprompt.comparison.report import ComparisonResults, recommend_method

Report = dict[str, Any]
"""The content of report.json."""

# name: title, kind, mean, spread, trained parameters, bytes, seconds, requests/s with 1 and 50 tasks, removable
CLASSIFYING: dict[str, tuple[Any, ...]] = {
    "hard": ("hard prompt", "prompting", 0.812, None, 0, 0, 0.0, 36.0, 34.0, True),
    "few-shot": ("4 examples in the prompt", "prompting", 0.846, 0.012, 0, 612, 0.0, 11.0, 9.6, True),
    "prompt-tuning": ("prompt tuning", "soft prompt", 0.884, 0.009, 11_520, 46_080, 131.0, 34.0, 31.0, True),
    "prefix": ("prefix tuning", "soft prompt", 0.912, 0.004, 460_800, 1_843_200, 142.0, 35.0, 32.5, True),
    "lora": ("LoRA, rank 8", "weights", 0.914, 0.004, 2_442_240, 9_768_960, 151.2, 33.0, 20.0, True),
    "bitfit": ("BitFit", "weights", 0.893, 0.006, 61_440, 245_760, 160.0, 36.0, 2.1, False),
    "head": ("linear head alone", "weights", 0.861, 0.003, 1_154, 4_616, 40.0, 36.0, 35.0, True),
    "full": ("full fine-tuning", "weights", 0.916, 0.011, 134_515_008, 538_060_032, 402.0, 36.0, 0.9, False),
    "api": ("gpt-4.1-mini, asked over its API", "api", 0.905, None, 0, 0, 0.0, None, None, True),
}

WRITING: dict[str, tuple[Any, ...]] = {
    "hard": ("hard prompt", "prompting", 61.2, None, 0, 0, 0.0, 9.0, 8.8, True),
    "prefix": ("prefix tuning", "soft prompt", 12.4, 0.21, 460_800, 1_843_200, 642.0, 9.0, 8.1, True),
    "lora": ("LoRA, rank 8", "weights", 11.9, 0.18, 2_442_240, 9_768_960, 700.0, 8.0, 5.0, True),
    "full": ("full fine-tuning", "weights", 11.2, 0.3, 134_515_008, 538_060_032, 1802.0, 9.0, 0.4, False),
}


def classifying(names: tuple[str, ...] = tuple(CLASSIFYING), seeds: int = 3, thorough: bool = True) -> Report:
    """Make a comparison of classifiers; if thorough, with sizes, sweeps and data of another domain."""
    report = _report("accuracy", seeds, ["negative", "positive"])
    report["methods"] = {name: _make_method(CLASSIFYING[name], "accuracy", seeds) for name in names}
    for name, method in report["methods"].items():
        mean = method["metrics"]["accuracy"]["mean"]
        right = round(750 * mean)
        method["confusion_matrix"] = [[right // 2, 375 - right // 2], [375 - (right - right // 2), right - right // 2]]
        if thorough:
            method["out_of_domain_metrics"] = {"accuracy": _make_summary(mean - 0.06, 0.01, seeds)}
            method["metrics_by_train_size"] = _sizes(name, mean, seeds) if method["num_trained_parameters"] else {}
    if thorough:
        _sweep(report, seeds)
        out_of_domain = {"source": "https://example.org/reviews?of=books&year=2024", "num_examples": 200}
        report["data"]["out_of_domain"] = out_of_domain
    _test_pairs(report, 0.012)
    return finished(report)


def wide(methods: int = 30, labels: int = 50) -> Report:
    """Make a comparison of many methods with similar metrics, on many labels."""
    report = _report("accuracy", 3, [f"label {number:02d}" for number in range(labels)])
    samples = list(CLASSIFYING.values())
    report["methods"] = {}
    for place in range(methods):
        title, kind, _, spread, trained, *rest = samples[place % len(samples)]
        mean = 0.80 + 0.11 * (place * 37 % methods) / methods
        facts = (
            title if place < len(samples) else f"{title}, variant {place}",
            kind,
            mean,
            spread,
            trained * (1 + place),
        )
        name = list(CLASSIFYING)[place] if place < len(samples) else f"way-{place}"
        method = report["methods"][name] = _make_method((*facts, *rest), "accuracy", 3)
        method["confusion_matrix"] = _confusion(labels, place)
        method["metrics_by_train_size"] = _sizes(name, mean, 3) if trained else {}
        method["learning_rates"] = _trials(mean, "accuracy") if trained else None
    _test_pairs(report, 0.02)
    return finished(report)


def _confusion(labels: int, place: int) -> list[list[int]]:
    """Make a confusion matrix of fifteen examples per label: few are taken for the next label, of label 7 most."""
    table = [[0] * labels for _ in range(labels)]
    for label in range(labels):
        num_wrong = 12 if label == 7 else (label * 3 + place) % 4
        table[label][label] = 15 - num_wrong
        table[label][(label + 1) % labels] = num_wrong
    return table


def writing() -> Report:
    """Make a comparison of methods for generation, by perplexity."""
    report = _report("perplexity", 3, [])
    report["methods"] = {name: _make_method(facts, "perplexity", 3) for name, facts in WRITING.items()}
    for method in report["methods"].values():
        method["metrics"]["bleu"] = _make_summary(40 - method["metrics"]["perplexity"]["mean"] / 2, 0.4, 3)
    _test_pairs(report, 0.03)
    api_method = _make_method(
        ("hard prompt through an API", "api", 50.0, None, 0, 30, 0.0, None, None, True), "perplexity", 1
    )
    for name in ("perplexity", "loss"):  # an API returns no probabilities
        del api_method["metrics"][name]
    report["methods"]["api"] = {**api_method, "metrics": {"bleu": _make_summary(35.0, None, 1)}}
    report["methods"]["prefix"]["skipped_runs"] = {
        "prefix/sweep/num-virtual-tokens/900/0/0": "900 virtual tokens: choose fewer"
    }
    return finished(report)


def failing(every: bool = False) -> Report:
    """Make a comparison in which some or all methods failed."""
    report = classifying(("hard", "prefix", "lora", "full"), thorough=False)
    for name in report["methods"] if every else ("full", "lora"):
        method = report["methods"][name]
        error = "ran out of memory: 3.2 GB were free, and <4.1 GB> were needed"
        report["methods"][name] = {"title": method["title"], "kind": method["kind"], "status": "failed", "error": error}
    _test_pairs(report, 0.012)
    return finished(report)


def finished(report: Report) -> Report:
    """Return the report with a new recommendation."""
    return {**report, "recommendation": advise(report)}


def advise(report: Report) -> Report:
    """Compute the recommendation of a report, as report.json has it."""
    content = {name: value for name, value in report.items() if name != "recommendation"}
    advice: Report = recommend_method(ComparisonResults.model_validate(content)).model_dump(mode="json")
    return advice


def decide(report: Report, one: str, other: str, difference: float, verdict: str) -> None:
    """Set the paired test of two methods in both directions."""
    mirrored = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    low, high = difference - 0.012, difference + 0.012
    found = {"difference": difference, "ci_low": low, "ci_high": high, "verdict": verdict}
    report["methods"][one]["pairwise_tests"][other] = found
    mirror = {"difference": -difference, "ci_low": -high, "ci_high": -low, "verdict": mirrored}
    report["methods"][other]["pairwise_tests"][one] = mirror


def _report(metric: str, seeds: int, labels: list[str]) -> Report:
    return {
        "format_version": 2,
        "command": "softprompt compare --model smollm2-135m --data train.jsonl --test test.jsonl --methods hard,lora:8",
        "settings": {"seeds": seeds, "trials": 3},
        "created_at": "2026-11-21T15:40:00+00:00",
        "softprompt_version": "0.1.0",
        "machine": "x86_64, 2 threads, cpu",
        "elapsed_minutes": 61.2,
        "model": {
            "name": "smollm2-135m",
            "num_parameters": 134_515_008,
            "fingerprint": "9f2c51d0a7be44e1",
            "precision": "float32",
        },
        "task": {
            "kind": "classification" if labels else "generation",
            "template": "Review: {text}\nSentiment:" if labels else "Question: {text}\nAnswer:",
            "labels": labels,
        },
        "data": {
            "train": {"source": "train.jsonl", "num_examples": 500},
            "validation": {"source": "held out of train.jsonl", "num_examples": 100},
            "test": {"source": "test.jsonl", "num_examples": 250},
            "out_of_domain": None,
            "overlap": {"training and test": 0, "validation and test": 0, "training and validation": 3},
        },
        "budget": {"max_steps": 100, "batch_size": 16, "minutes": None, "num_trials": 3, "seeds": list(range(seeds))},
        "headline_metric": metric,
        "higher_is_better": metric != "perplexity",
    }


def _make_method(facts: tuple[Any, ...], metric: str, seeds: int) -> Report:
    title, kind, mean, spread, trained, stored, seconds, one, fifty, removable = facts
    adapted = trained > 0
    method = {
        "title": title,
        "kind": kind,
        "status": "completed",
        "metrics": {
            metric: _make_summary(mean, spread, seeds, larger=metric != "perplexity"),
            "loss": _make_summary(
                math.log(mean) if metric == "perplexity" else 1.2 - mean, 0.01 if spread else None, seeds, False
            ),
        },
        "num_trained_parameters": trained,
        "trained_fraction": trained / 134_515_008,
        "stored_bytes_per_task": stored,
        "train_seconds": seconds,
        "search_seconds": 4.6 * seconds,
        "useful_tokens_per_second": 121.0 if adapted else None,
        "peak_memory_bytes": 1_400_000_000 + 16 * trained if kind != "api" else None,
        "serving": {
            "1": {"latency_seconds": 1.2 / one, "requests_per_second": one, "tokens_per_second": 40 * one},
            "50": {"latency_seconds": 1.3 / fifty, "requests_per_second": fifty, "tokens_per_second": 40 * fifty},
        }
        if one
        else None,
        "shares_base_weights": removable,
        "forgetting": {"loss_before": 3.21, "loss_after": 3.21 if removable else 3.21 + trained / 5e8}
        if adapted
        else None,
        "out_of_domain_metrics": None,
        "learning_rates": _trials(mean, metric) if adapted else None,
        "training_curve": _curve(mean, metric, seeds) if adapted else [],
        "metrics_by_train_size": {},
        "metrics_by_setting": {},
        "confusion_matrix": None,
        "skipped_runs": {},
        "api_usage": None,
        "steps": 100 if adapted else 0,
        "pairwise_tests": {},
    }
    if metric == "accuracy":
        method["metrics"]["macro_f1"] = _make_summary(mean - 0.004, spread, seeds)
    if kind == "api":
        method["api_usage"] = {
            "num_requests": 250,
            "num_retries": 3,
            "num_unreadable": 2,
            "prompt_tokens": 51_200,
            "completion_tokens": 800,
            "cost_usd": 0.0217,
        }
    return method


def _make_summary(mean: float, spread: float | None, seeds: int, larger: bool = True) -> Report:
    if spread is None or seeds == 1:
        return {"mean": mean, "std": None, "worst": mean, "values": [mean]}
    values = [mean + spread * step for step in (1.0, -1.3, 0.3)][:seeds]
    return {"mean": mean, "std": spread, "worst": min(values) if larger else max(values), "values": values}


def _trials(mean: float, metric: str) -> Report:
    trials = [
        {"learning_rate": rate, "metrics": {metric: mean * by, "loss": 0.2 / by}}
        for rate, by in ((3e-4, 0.97), (1e-3, 1.0), (3e-3, 0.95))
    ]
    return {"best": 1e-3, "trials": trials}


def _curve(mean: float, metric: str, seeds: int) -> list[Report]:
    start = 0.5 if metric == "accuracy" else 5 * mean
    far = 18 + 30 * (mean * 7919 % 1)
    return [
        {
            "seed": seed,
            "step": step,
            "metrics": {
                metric: mean + (start - mean) * math.exp(-step / far) + 0.006 * math.sin(7 * step + 3 * seed),
                "loss": 0.2 + math.exp(-step / 30),
            },
        }
        for seed in range(seeds)
        for step in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    ]


def _sizes(name: str, mean: float, seeds: int) -> Report:
    need = {"head": 12, "lora": 90, "full": 160}.get(name, 40)
    return {
        str(n): {"accuracy": _make_summary(mean - (mean - 0.55) * math.exp(-n / need), 0.05 / math.log2(n), seeds)}
        for n in (16, 64, 256)
    }


def _sweep(report: Report, seeds: int) -> None:
    tokens = {"1": 0.84, "5": 0.88, "20": 0.9, "100": 0.905}
    for name, lift in (("prompt-tuning", -0.02), ("prefix", 0.008)):
        if name in report["methods"]:
            sweeps = report["methods"][name]["metrics_by_setting"]
            sweeps["num-virtual-tokens"] = {
                n: {"accuracy": _make_summary(v + lift, 0.006, seeds)} for n, v in tokens.items()
            }
            starts = {"random": 0.88, "text": 0.9, "labels": 0.895}
            sweeps["init"] = {n: {"accuracy": _make_summary(v + lift, 0.008, seeds)} for n, v in starts.items()}


def _test_pairs(report: Report, half: float) -> None:
    """Add the paired tests of all methods, with confidence intervals of equal width."""
    metric, methods = report["headline_metric"], report["methods"]
    for one, method in methods.items():
        if "error" in method:
            continue
        method["pairwise_tests"] = {}
        for other, other_method in methods.items():
            if other != one and "error" not in other_method:
                mean, other_mean = method["metrics"][metric]["mean"], other_method["metrics"][metric]["mean"]
                difference = mean - other_mean if metric == "accuracy" else math.log(other_mean / mean)
                verdict = "better" if difference > half else "worse" if difference < -half else "no difference shown"
                interval = {"ci_low": difference - half, "ci_high": difference + half}
                method["pairwise_tests"][other] = {"difference": difference, **interval, "verdict": verdict}
