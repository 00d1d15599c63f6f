"""Inference engine: runs the requests of many prompts together on one frozen model, with continuous batching."""

from softprompt.engine.engine import Engine, TokenOutput
from softprompt.engine.request import EngineRequest, FinishReason, SamplingParams

__all__ = ["Engine", "EngineRequest", "FinishReason", "SamplingParams", "TokenOutput"]
