"""The frozen base model: load it, and ask of it what a soft prompt needs. Knows no task, method or saved prompt."""

from softprompt.model import libraries as libraries  # the first, so that it is what imports torch
from softprompt.model.cache import Past, PromptedCache
from softprompt.model.causal import CausalModel
from softprompt.model.composition import compose
from softprompt.model.encoder_decoder import EncoderDecoderModel
from softprompt.model.frozen import FrozenModel, Payloads
from softprompt.model.loading import frozen, load_model
from softprompt.model.masked import MaskedModel
from softprompt.model.payload import Embeddings, Ground, Payload, Placement, Prefix, placeholder
from softprompt.model.shape import Kind, ModelShape
from softprompt.model.spread import key_value_spread, state_spread
from softprompt.model.weightless import load_weightless
from softprompt.model.writing import Draft, WritingModel

__all__ = [
    "CausalModel",
    "Draft",
    "Embeddings",
    "EncoderDecoderModel",
    "FrozenModel",
    "Ground",
    "Kind",
    "MaskedModel",
    "ModelShape",
    "Past",
    "Payload",
    "Payloads",
    "Placement",
    "Prefix",
    "PromptedCache",
    "WritingModel",
    "compose",
    "frozen",
    "key_value_spread",
    "load_model",
    "load_weightless",
    "placeholder",
    "state_spread",
]
