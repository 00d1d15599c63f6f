"""Overflow checks: prompts with values so large that the model's outputs are not finite."""

from __future__ import annotations

import torch

from softprompt.errors import NonFiniteOutput
from softprompt.model import CausalModel, Payload, Placement
from softprompt.model.payload import get_placeholder_id
from softprompt.saved.saved_prompt import SavedPrompt

MAX_MAGNITUDE = 1e18  # its square fits into float32; normalization layers square their inputs
PROBE_TOKEN_ID = 5  # any token works


def check_magnitude(prompt: SavedPrompt, name: str) -> None:
    """Check that all values of a prompt can be squared.

    Args:
        prompt: the prompt.
        name: name of the prompt, for the message.

    Raises:
        NonFiniteOutput: a value is too large; the message names the largest value and its virtual token.
    """
    tensors = [prompt.payload.tensor, *(prompt.head or {}).values()]
    if any(float(tensor.abs().max()) > MAX_MAGNITUDE for tensor in tensors if tensor.numel()):
        raise NonFiniteOutput(f"{_describe_overflow(prompt, name)}: values above {MAX_MAGNITUDE:g} cannot be squared")


@torch.inference_mode()
def check_finite_logits(prompt: SavedPrompt, name: str, model: CausalModel) -> None:
    """Run one token after a prompt and check that the model's logits are finite.

    Args:
        prompt: the prompt.
        name: name of the prompt, for the message.
        model: the base model.

    Raises:
        NonFiniteOutput: the logits are not finite; the message names the largest value and its virtual token.
        BaseModelMismatch: the prompt was made for another model.
    """
    payload = prompt.compile_for(model)
    ids = torch.tensor([_probe_input_ids(model, payload)], device=model.device)
    hidden = model.start_decoding(ids, torch.ones_like(ids, dtype=torch.bool), [payload]).last_hidden_state
    if not (payload.tensor.isfinite().all() and model.compute_logits(hidden).isfinite().all()):
        raise NonFiniteOutput(f"{_describe_overflow(prompt, name)}: the model's logits after it are not finite")


def _probe_input_ids(model: CausalModel, payload: Payload) -> list[int]:
    ids = payload.apply_to_prompt(
        model.prompt_tokenizer.add_special_tokens([min(PROBE_TOKEN_ID, model.shape.vocab_size - 1)])
    )
    if payload.placement is Placement.IN_TEMPLATE:
        ids = [*map(get_placeholder_id, range(payload.num_virtual_tokens)), *ids]
    return ids


def _describe_overflow(prompt: SavedPrompt, name: str) -> str:
    """Describe the largest value of a prompt and its virtual token."""
    tensor = prompt.payload.tensor.abs()
    tokens = tensor.amax(dim=(0, 1, 2, 4) if tensor.ndim == 5 else 1)
    largest = f"{float(tokens.max()):.3g} in virtual token {int(tokens.argmax())}"
    return f"{name} contains values that overflow in the model, the largest {largest}"
