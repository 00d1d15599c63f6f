"""The exact form of a text, and the logits that it must have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import softprompt
from softprompt.data import Example
from softprompt.model import CausalModel
from softprompt.saved import SavedPrompt
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective


def distil_exactly(model: CausalModel, text: str, **settings: Any) -> SavedPrompt:
    """Distil a text exactly, and load the saved prompt."""
    with TemporaryDirectory() as folder:
        source, output = Path(folder) / "text.txt", Path(folder) / "p"
        source.write_text(text, encoding="utf-8")
        softprompt.distil(model, context=source, output=output, num_virtual_tokens="all", **settings)
        return SavedPrompt.from_folder(output)


@torch.no_grad()
def compute_logits_behind(model: CausalModel, prompt: SavedPrompt, example: Example) -> Tensor:
    """Return the logits of the token after an input, `[V]`, behind a prompt."""
    payload = prompt.compile_for(model)
    objective = prompt.build_objective(model, payload)
    assert isinstance(objective, LanguageModelingObjective)
    ids = torch.tensor([payload.apply_to_prompt(objective.encode_prompt(example, 1).prompt_ids)])
    hidden = model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), payload)
    return model.compute_logits(hidden[:, -1])[0]


@torch.no_grad()
def compute_plain_logits(model: CausalModel, token_ids: Sequence[int]) -> Tensor:
    """Return the logits of the token after others, `[V]`, as transformers computes them."""
    return model.network(input_ids=torch.tensor([list(token_ids)])).logits[0, -1]
