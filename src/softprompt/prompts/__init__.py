"""Soft prompts under training: tuning methods differ in their parameters and in how these become a payload."""

from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.option_resolution import num_virtual_tokens, uses_demonstrations
from softprompt.prompts.prompt_construction import build_prompt
from softprompt.prompts.prompt_options import PromptOptions
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.prompts.tuning_methods import TUNING_METHODS, TuningMethod

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
