"""Many requests behind many prompts on one frozen model: rows of any prompts in one batch, joining and leaving."""

from softprompt.engine.engine import Engine, Written
from softprompt.engine.request import End, Request, Sampling

__all__ = ["End", "Engine", "Request", "Sampling", "Written"]
