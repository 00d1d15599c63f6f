"""Whether a prompt's numbers are too large for a model: what it computes behind them would not be finite."""

from __future__ import annotations

import torch

from softprompt.errors import OverflowingPrompt
from softprompt.model import CausalModel, Payload, Placement
from softprompt.model.payload import placeholder
from softprompt.saved.saved_prompt import SavedPrompt

LARGEST = 1e18  # its square is a float32, in which models square numbers to norm them
TRIED = 5  # the token that is tried; any would do


def check_magnitude(prompt: SavedPrompt, name: str) -> None:
    """Refuse numbers that no model can square; `name` is what the prompt is called.

    Raises:
        OverflowingPrompt: with the largest of them, and its virtual token.
    """
    tensors = [prompt.payload.tensor, *(prompt.head or {}).values()]
    if any(float(tensor.abs().max()) > LARGEST for tensor in tensors if tensor.numel()):
        raise OverflowingPrompt(f"{_describe(prompt, name)}: no model can square more than {LARGEST:g}")


@torch.inference_mode()
def check_logits(prompt: SavedPrompt, name: str, model: CausalModel) -> None:
    """Run one token behind a prompt, and refuse it by its name if the model's logits are not finite then.

    Raises:
        OverflowingPrompt: with the largest of its numbers, and its virtual token.
        WrongBaseModel: it is for another model.
    """
    payload = prompt.bound(model)
    ids = torch.tensor([_tried_row(model, payload)], device=model.device)
    hidden = model.draft(ids, torch.ones_like(ids, dtype=torch.bool), [payload]).hidden
    if not (payload.tensor.isfinite().all() and model.logits(hidden).isfinite().all()):
        raise OverflowingPrompt(f"{_describe(prompt, name)}: the model's logits behind it are not finite")


def _tried_row(model: CausalModel, payload: Payload) -> list[int]:
    row = payload.arrange(model.row([min(TRIED, model.shape.vocab_size - 1)]))
    if payload.placement is Placement.IN_TEMPLATE:
        row = [*map(placeholder, range(payload.num_virtual_tokens)), *row]
    return row


def _describe(prompt: SavedPrompt, name: str) -> str:
    """The largest number of a prompt and where it is."""
    tensor = prompt.payload.tensor.abs()
    tokens = tensor.amax(dim=(0, 1, 2, 4) if tensor.ndim == 5 else 1)
    largest = f"{float(tokens.max()):.3g} in virtual token {int(tokens.argmax())}"
    return f"{name} holds numbers that overflow in the model, the largest {largest}"
