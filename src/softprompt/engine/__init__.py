"""Inference engine: runs the requests of many prompts together on one frozen model, with continuous batching."""

from softprompt.engine.engine import Engine
from softprompt.engine.request import EngineRequest
from softprompt.sampling import FinishReason, SamplingParams, TokenOutput

__all__ = ["Engine", "EngineRequest", "FinishReason", "SamplingParams", "TokenOutput"]
