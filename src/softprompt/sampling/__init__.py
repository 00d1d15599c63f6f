"""Sampling of tokens from logits, and their text. Independent of models. Imports no torch."""

from softprompt.sampling.finish_reason import FinishReason
from softprompt.sampling.sampling_params import SamplingParams
from softprompt.sampling.token_output import SampledToken, TokenOutput

__all__ = ["FinishReason", "SampledToken", "SamplingParams", "TokenOutput"]
