"""`PreTrainedInterface`: what transformers' `Trainer`, collators and pipelines ask of a model besides `forward`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from softprompt.hf_model.text_embeddings import TextEmbeddings
from softprompt.model import CausalModel


class PreTrainedInterface(nn.Module):
    """A module that describes a frozen base model as transformers' `PreTrainedModel` would.

    Args:
        frozen_model: base model.
    """

    main_input_name = "input_ids"
    input_modalities = output_modalities = ("text",)
    supports_gradient_checkpointing = True
    is_activation_checkpointing = False

    def __init__(self, frozen_model: CausalModel):
        super().__init__()
        # In a tuple, so that nn.Module does not register the base model's parameters.
        self._frozen_model = (frozen_model,)
        self._text_embeddings = TextEmbeddings(frozen_model)

    @property
    def frozen_model(self) -> CausalModel:
        """Frozen base model. It is no submodule, so its weights are neither trained, nor saved, nor moved."""
        return self._frozen_model[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Transformers tokenizer of the base model, with a pad token that is not its end-of-text token."""
        return self.frozen_model.tokenizer

    @property
    def config(self) -> Any:
        """Configuration of the base model."""
        return self.frozen_model.network.config

    @property
    def device(self) -> torch.device:
        """Device of the base model."""
        return self.frozen_model.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the base model's weights."""
        return self.frozen_model.dtype

    @property
    def name_or_path(self) -> str:
        """Name or path that the base model was loaded from."""
        return self.frozen_model.name

    def can_generate(self) -> bool:
        """Return True."""
        return True

    def get_input_embeddings(self) -> nn.Module:
        """Return the module that embeds text tokens; forward hooks on it do not affect virtual tokens."""
        return self._text_embeddings

    def activation_checkpointing_enable(self, **_: Any) -> None:
        """Enable gradient checkpointing; `Trainer` calls this method. It also works with KV prefixes."""
        self.frozen_model.enable_gradient_checkpointing()
        self.is_activation_checkpointing = True

    def gradient_checkpointing_enable(self, **_: Any) -> None:
        """Enable gradient checkpointing under the name that transformers used until 5.23."""
        self.activation_checkpointing_enable()
