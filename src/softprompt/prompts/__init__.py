"""Soft prompts under training: tuning methods differ in their parameters and in how these become a payload."""

from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.prompts.tuning_methods import (
    TUNING_METHODS,
    PromptOptions,
    TuningMethod,
    build_prompt,
    num_virtual_tokens,
    uses_demonstrations,
)

__all__ = [
    "TUNING_METHODS",
    "InitialValue",
    "PromptOptions",
    "SoftPrompt",
    "TuningMethod",
    "build_prompt",
    "num_virtual_tokens",
    "uses_demonstrations",
]
