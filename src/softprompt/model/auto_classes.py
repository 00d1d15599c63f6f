"""Which of transformers' classes reads a model of each kind, word head included."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from softprompt.model.model_shape import ModelKind

AUTO_CLASSES: dict[ModelKind, Any] = {
    ModelKind.CAUSAL: AutoModelForCausalLM,
    ModelKind.MASKED: AutoModelForMaskedLM,
    ModelKind.ENCODER_DECODER: AutoModelForSeq2SeqLM,
}
