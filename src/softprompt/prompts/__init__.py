"""Making a prompt: methods differ in which parameters they train and how those become a payload. Knows no data."""

from softprompt.prompts.initial import Start
from softprompt.prompts.methods import (
    METHODS,
    Method,
    PromptOptions,
    build_prompt,
    num_virtual_tokens,
    shows_examples,
)
from softprompt.prompts.soft_prompt import SoftPrompt

__all__ = [
    "METHODS",
    "Method",
    "PromptOptions",
    "SoftPrompt",
    "Start",
    "build_prompt",
    "num_virtual_tokens",
    "shows_examples",
]
