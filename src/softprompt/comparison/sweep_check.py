"""Checks the settings that a comparison sweeps, before the first run."""

from __future__ import annotations

from collections.abc import Mapping

from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod
from softprompt.errors import SettingError
from softprompt.message_parameters import replace_parameters

#: Settings of a soft prompt or its training that a sweep may vary. All methods share the other settings.
SWEEPABLE_SETTINGS = (
    "num_virtual_tokens", "init", "encoder", "encoder_hidden_size", "placement", "freeze_sink", "layers", "head",
    "batch_size", "gradient_accumulation_steps", "warmup_ratio", "weight_decay", "max_grad_norm",
)  # fmt: skip


def check_sweep(settings: CompareSettings, methods: Mapping[str, AdaptationMethod]) -> None:
    """Check the names and values of the sweep.

    Args:
        settings: settings of the comparison.
        methods: methods of the comparison, by name.

    Raises:
        SettingError: a setting cannot be swept, a value is invalid, or no method is a soft prompt.
    """
    if settings.sweep and not any(method.kind is MethodKind.SOFT_PROMPT for method in methods.values()):
        raise SettingError("`sweep` varies settings of soft prompts, but `methods` contains no soft prompt: add one")
    for name, values in settings.sweep.items():
        if name.replace("-", "_") not in SWEEPABLE_SETTINGS:
            raise SettingError(f"`sweep` cannot vary {name!r}: choose one of {', '.join(SWEEPABLE_SETTINGS)}")
        for value in values:
            _check_sweep_value(settings, name.replace("-", "_"), value)


def _check_sweep_value(settings: CompareSettings, name: str, value: str) -> None:
    try:
        settings.to_tune_settings(**{name: value})
    except SettingError as error:
        problem = replace_parameters(str(error), lambda name, value: f"`sweep={{{name!r}: [{value}]}}`")
        raise SettingError(problem) from error
