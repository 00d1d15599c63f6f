"""Which of transformers' classes reads a model of each kind, word head included."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from softprompt.model.shape import Kind

AUTO: dict[Kind, Any] = {
    Kind.CAUSAL: AutoModelForCausalLM,
    Kind.MASKED: AutoModelForMaskedLM,
    Kind.ENCODER_DECODER: AutoModelForSeq2SeqLM,
}
