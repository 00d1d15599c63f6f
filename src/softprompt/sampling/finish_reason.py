"""Reasons why a response ended."""

from __future__ import annotations

from enum import StrEnum


class FinishReason(StrEnum):
    """Reason why a response ended."""

    STOP = "stop"  # an end-of-sequence token or a stop string
    LENGTH = "length"  # max_new_tokens was reached
    CANCELLED = "cancelled"  # the client cancelled the request
    TIMEOUT = "deadline"  # the deadline passed
    NON_FINITE = "overflow"  # the model's logits were not finite
    GRAMMAR_DEAD_END = "stuck"  # the grammar allows no token, or its masks take too long
