"""The classes of transformers that load a model of each kind with its language-modeling head."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from softprompt.model.model_shape import ModelKind

AUTO_CLASSES: dict[ModelKind, Any] = {
    ModelKind.CAUSAL: AutoModelForCausalLM,
    ModelKind.MASKED: AutoModelForMaskedLM,
    ModelKind.ENCODER_DECODER: AutoModelForSeq2SeqLM,
}
