"""Load a frozen base model and run it with soft prompts. Knows no task, tuning method or saved prompt."""

from softprompt.model import heavy_imports as heavy_imports
from softprompt.model.activation_spread import measure_hidden_state_spread, measure_kv_spread
from softprompt.model.causal_model import CausalModel
from softprompt.model.composition import compose_payloads
from softprompt.model.encoder_decoder_model import EncoderDecoderModel
from softprompt.model.forward_budget import ForwardBudget
from softprompt.model.frozen_model import FrozenModel
from softprompt.model.generative_model import DecodingState, GenerativeModel
from softprompt.model.hooks.cache_layers import PromptedDynamicCache
from softprompt.model.masked_model import MaskedModel
from softprompt.model.meta_model import load_meta_model
from softprompt.model.model_loader import freeze_network, load_model
from softprompt.model.model_shape import ModelKind, ModelShape
from softprompt.model.past_state import PastState
from softprompt.model.payload import FrozenPrefix, KVPrefix, Payload, Placement, PromptEmbeddings, get_placeholder_id
from softprompt.model.payload_batch import BatchPayloads
from softprompt.model.prompt_tokenizer import PromptTokenizer

__all__ = [
    "BatchPayloads",
    "CausalModel",
    "DecodingState",
    "EncoderDecoderModel",
    "ForwardBudget",
    "FrozenModel",
    "FrozenPrefix",
    "GenerativeModel",
    "KVPrefix",
    "MaskedModel",
    "ModelKind",
    "ModelShape",
    "PastState",
    "Payload",
    "Placement",
    "PromptEmbeddings",
    "PromptTokenizer",
    "PromptedDynamicCache",
    "compose_payloads",
    "freeze_network",
    "get_placeholder_id",
    "load_meta_model",
    "load_model",
    "measure_hidden_state_spread",
    "measure_kv_spread",
]
