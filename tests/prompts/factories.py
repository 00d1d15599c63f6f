"""Prompts of every method for the tiny Llama."""

from __future__ import annotations

from typing import Any

from softprompt.prompts import SoftPrompt, build_prompt
from tests import strategies
from tests.tiny import shared_model

LABELS = ("good", "bad", "so-so")
L, G, D, H, P = 3, 2, 6, 24, 4  # sizes of the tiny Llama, and the number of virtual tokens
TEXT = "the film was great"  # P tokens


def build_tiny_prompt(method: str, encoder: str | None = None, **options: Any) -> SoftPrompt:
    return build_prompt(strategies.options(method, P, encoder=encoder, **options), shared_model("llama"), TEXT, LABELS)[
        0
    ]
