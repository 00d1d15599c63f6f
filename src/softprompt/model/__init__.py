"""The frozen base model: load it, and ask of it what a soft prompt needs. Knows no task, method or saved prompt."""

from softprompt.model.cache import Past, PromptedCache
from softprompt.model.frozen import FrozenModel, Payloads
from softprompt.model.loading import load_model
from softprompt.model.payload import Embeddings, Payload, Placement, Prefix
from softprompt.model.shape import ModelShape

__all__ = [
    "Embeddings",
    "FrozenModel",
    "ModelShape",
    "Past",
    "Payload",
    "Payloads",
    "Placement",
    "Prefix",
    "PromptedCache",
    "load_model",
]
