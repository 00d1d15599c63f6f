"""Sampling parameters of the responses that are measured."""

from __future__ import annotations

from softprompt.sampling import SamplingParams
from softprompt.tasks import Objective


def make_greedy_sampling_params(max_tokens: int, objective: Objective) -> SamplingParams:
    """Return parameters for greedy responses of `max_tokens` tokens, or a quarter of a shorter context window."""
    return SamplingParams(max_new_tokens=max(1, min(max_tokens, objective.max_length // 4)))
