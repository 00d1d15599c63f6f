"""What is said where the model's numbers behind a prompt are not finite."""

from __future__ import annotations

from softprompt.errors import OverflowingPrompt


def overflow_error() -> OverflowingPrompt:
    """There is no answer, since NaN or infinite numbers came out of the model."""
    return OverflowingPrompt(
        "the model's numbers behind this prompt are not finite, so there is no answer: "
        "train the prompt anew with a lower learning rate"
    )
