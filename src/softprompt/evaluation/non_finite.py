"""Error for prompts that make the model's output non-finite."""

from __future__ import annotations

from softprompt.errors import NonFiniteOutput


def build_non_finite_error() -> NonFiniteOutput:
    """Return the error for output with NaN or infinite numbers."""
    return NonFiniteOutput(
        "this prompt makes the model's output non-finite, so there is no result: "
        "train the prompt again with a lower learning rate"
    )
