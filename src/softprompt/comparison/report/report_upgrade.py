"""Upgrades reports of earlier versions of softprompt: the keys of report.json version 1 become those of version 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.errors import SettingError

FORMAT_VERSION = 2

_REPORT_KEYS = {
    "version": "format_version",
    "made": "created_at",
    "softprompt": "softprompt_version",
    "minutes": "elapsed_minutes",
    "metric": "headline_metric",
    "larger_is_better": "higher_is_better",
    "ways": "methods",
}
_SPLIT_KEYS = {"examples": "num_examples"}
_BUDGET_KEYS = {"steps": "max_steps", "trials": "num_trials"}
_RECOMMENDATION_KEYS = {"way": "method", "words": "summary", "changes": "caveats"}
_METHOD_KEYS = {
    "trained_parameters": "num_trained_parameters",
    "trained_share": "trained_fraction",
    "bytes_per_task": "stored_bytes_per_task",
    "seconds": "train_seconds",
    "removable": "shares_base_weights",
    "out_of_domain": "out_of_domain_metrics",
    "learning_rate": "learning_rates",
    "curve": "training_curve",
    "sizes": "metrics_by_train_size",
    "sweeps": "metrics_by_setting",
    "confusion": "confusion_matrix",
    "left_out": "skipped_runs",
    "calls": "api_usage",
    "versus": "pairwise_tests",
}
_SUMMARY_KEYS = {"spread": "std", "seeds": "values"}
_FORGETTING_KEYS = {"before": "loss_before", "after": "loss_after"}
_API_USAGE_KEYS = {
    "requests": "num_requests",
    "retries": "num_retries",
    "unreadable": "num_unreadable",
    "dollars": "cost_usd",
}
_TEST_KEYS = {"low": "ci_low", "high": "ci_high"}


def upgrade_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with the keys of version 2.

    Args:
        report: contents of report.json, of version 1 or 2.

    Raises:
        SettingError: the report has a later version.
    """
    version = report.get("format_version", report.get("version"))
    if version == FORMAT_VERSION:
        return dict(report)
    if version != 1:
        raise SettingError(
            f"report.json has format version {version}, but 1 to {FORMAT_VERSION} are supported: upgrade softprompt"
        )
    upgraded = _rename(report, _REPORT_KEYS)
    upgraded["format_version"] = FORMAT_VERSION
    upgraded["model"] = _rename(report["model"], {"parameters": "num_parameters"})
    upgraded["data"] = _upgrade_data(report["data"])
    upgraded["budget"] = _rename(report["budget"], _BUDGET_KEYS)
    upgraded["methods"] = {name: _upgrade_method(entry) for name, entry in report["ways"].items()}
    if report.get("recommendation"):
        upgraded["recommendation"] = _rename(report["recommendation"], _RECOMMENDATION_KEYS)
    return upgraded


def _rename(values: Mapping[str, Any], new_keys: Mapping[str, str]) -> dict[str, Any]:
    return {new_keys.get(key, key): value for key, value in values.items()}


def _upgrade_data(data: Mapping[str, Any]) -> dict[str, Any]:
    splits = {name: split and _rename(split, _SPLIT_KEYS) for name, split in data.items() if name != "overlap"}
    return {**_rename(splits, {"training": "train"}), "overlap": data.get("overlap") or {}}


def _upgrade_method(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Move the metrics, which version 1 had among an entry's other values, under `metrics`."""
    if "error" in entry:
        return {**entry, "status": "failed"}
    metrics = {name: value for name, value in entry.items() if _is_metric_summary(value)}
    upgraded = _rename({name: value for name, value in entry.items() if name not in metrics}, _METHOD_KEYS)
    upgraded["status"] = "completed"
    upgraded["metrics"] = _upgrade_metrics(metrics)
    if "out_of_domain" in entry:
        upgraded["out_of_domain_metrics"] = entry["out_of_domain"] and _upgrade_metrics(entry["out_of_domain"])
    if entry.get("sizes"):
        upgraded["metrics_by_train_size"] = {
            size: _upgrade_metrics(metrics) for size, metrics in entry["sizes"].items()
        }
    if entry.get("sweeps"):
        upgraded["metrics_by_setting"] = {
            setting: {value: _upgrade_metrics(metrics) for value, metrics in values.items()}
            for setting, values in entry["sweeps"].items()
        }
    if entry.get("serving"):
        upgraded["serving"] = {
            tasks: result and _rename(result, {"rows_per_second": "requests_per_second"})
            for tasks, result in entry["serving"].items()
        }
    if entry.get("forgetting"):
        upgraded["forgetting"] = _rename(entry["forgetting"], _FORGETTING_KEYS)
    if entry.get("learning_rate"):
        upgraded["learning_rates"] = {
            "best": entry["learning_rate"].get("chosen"),
            "trials": [_group_metrics(trial, ("rate",)) for trial in entry["learning_rate"].get("trials") or []],
        }
    if entry.get("curve"):
        upgraded["training_curve"] = [_group_metrics(point, ("seed", "step")) for point in entry["curve"]]
    if entry.get("calls"):
        upgraded["api_usage"] = _rename(entry["calls"], _API_USAGE_KEYS)
    if entry.get("versus"):
        upgraded["pairwise_tests"] = {other: _rename(test, _TEST_KEYS) for other, test in entry["versus"].items()}
    return upgraded


def _is_metric_summary(value: Any) -> bool:
    return isinstance(value, Mapping) and {"mean", "seeds"} <= value.keys()


def _upgrade_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _rename(summary, _SUMMARY_KEYS) for name, summary in metrics.items()}


def _group_metrics(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Put everything but `keys` under `metrics`."""
    kept = _rename({key: values[key] for key in keys if key in values}, {"rate": "learning_rate"})
    return {**kept, "metrics": {name: value for name, value in values.items() if name not in keys}}
