"""Strategies of hypothesis: families, methods, shapes, token ids, payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from softprompt.model import (
    CausalModel,
    EncoderDecoderModel,
    FrozenModel,
    FrozenPrefix,
    KVPrefix,
    Payload,
    Placement,
    PromptEmbeddings,
)
from softprompt.model.prompt_tokenizer import DECODER_START
from softprompt.prompts import TUNING_METHODS as ALL_METHODS
from softprompt.prompts import PromptOptions
from tests.tiny import ALL_FAMILIES, ENCODER_DECODER_FAMILIES, FAMILIES, KINDS, WITH_BOS

families = st.sampled_from(ALL_FAMILIES)
causal_families = st.sampled_from(FAMILIES)
writing_families = st.sampled_from(FAMILIES + ENCODER_DECODER_FAMILIES)
seeds = st.integers(0, 2**32 - 1)
lengths = st.integers(1, 9)
rows = st.lists(st.lists(st.integers(3, 383), min_size=1, max_size=12), min_size=1, max_size=4)

#: Every method with every encoder it has.
METHODS = (
    ("prompt", "none"),
    ("residual", "mlp"),
    ("p-tuning", "mlp"),
    ("p-tuning", "lstm"),
    ("multitask", "none"),
    ("context", "none"),
    ("prefix", "none"),
    ("prefix", "mlp"),
    ("p-tuning-v2", "none"),
)

#: Each family with every method that is for models of its kind: `(family, method, encoder)`.
METHODS_ON_FAMILIES = tuple(
    (family, name, encoder)
    for family in ALL_FAMILIES
    for name, encoder in METHODS
    if KINDS[family] in ALL_METHODS[name].model_kinds
)


#: Methods for one task. Methods for several tasks need examples with the name of their task.
METHODS_OF_ONE_TASK = tuple((name, encoder) for name, encoder in METHODS if not ALL_METHODS[name].is_multitask)

#: Methods for one task that need no demonstrations, which not every task has.
METHODS_FOR_ANY_TASK = tuple(
    (name, encoder) for name, encoder in METHODS_OF_ONE_TASK if not ALL_METHODS[name].uses_demonstrations
)


def methods_starting_from(start: str) -> tuple[tuple[str, str], ...]:
    """Return the methods with this initializer, `random` or `prompt`, each with every encoder."""
    return tuple((name, encoder) for name, encoder in METHODS if start in ALL_METHODS[name].initializers)


def options(method: str, num_virtual_tokens: int, **more: Any) -> PromptOptions:
    """Make the options of a method; a multi-task method gets two tasks."""
    tasks = ("films", "songs") if ALL_METHODS[method].is_multitask else ()
    return PromptOptions(method, num_virtual_tokens, tasks=tasks, **more)


def tuning(method: str, num_virtual_tokens: int) -> dict[str, Any]:
    """Make the settings of `tune` for a method on reviews; for a multi-task method each label is a task.

    A method with demonstrations gets enough virtual tokens for one example of each label.
    """
    task_settings = {"task_field": "label"} if ALL_METHODS[method].is_multitask else {}
    return {
        "method": method,
        "num_virtual_tokens": 60 if ALL_METHODS[method].uses_demonstrations else num_virtual_tokens,
        **task_settings,
    }


def random_embeddings(
    model: FrozenModel, num_virtual_tokens: int, seed: int, placement: Placement = Placement.BEFORE
) -> PromptEmbeddings:
    """Make random prompt embeddings with the scale of the model's embeddings."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_virtual_tokens, model.shape.embedding_size, generator=generator)
    return PromptEmbeddings(noise * model.embedding_rms, placement)


def random_prefix(model: FrozenModel, num_virtual_tokens: int, seed: int, ground: int = 0) -> KVPrefix:
    """Make a random prefix, which no text could produce; its `ground` lowest layers are frozen."""
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(model.shape.get_prefix_shape(num_virtual_tokens), generator=generator)
    return KVPrefix(tensor[ground:], frozen_prefix=FrozenPrefix(tensor[:ground]) if ground else None)


@st.composite
def payloads(draw: st.DrawFn, model: FrozenModel, name: str) -> Payload:
    """Draw a compiled payload of any kind that the family supports."""
    P, seed = draw(lengths), draw(seeds)
    impossible = {
        Placement.IN_TEMPLATE,
        *([] if name in WITH_BOS else [Placement.AFTER_BOS]),
    }  # these sequences have no template
    kind = draw(st.sampled_from(["prefix", *(p for p in model.placements if p not in impossible)]))
    with torch.no_grad():
        if kind != "prefix":
            return model.compile_payload(random_embeddings(model, P, seed, Placement(kind)))
        highest = model.shape.num_layers - 1 if isinstance(model, CausalModel) else 0
        return model.compile_payload(random_prefix(model, P, seed, draw(st.integers(0, highest))))


def as_row(model: FrozenModel, ids: Sequence[int]) -> list[int]:
    """Arrange ids as a sequence: in an encoder-decoder the first half is the encoder's, the rest the decoder's."""
    if not isinstance(model, EncoderDecoderModel):
        return list(ids)
    half = (len(ids) + 1) // 2
    return [*ids[:half], DECODER_START, *ids[half:]]


def laid_out(sequences: Sequence[Sequence[int]], side: str, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Pad sequences on a side to the longest plus `extra`; return ids and mask."""
    longest = max(map(len, sequences)) + extra
    ids, mask = torch.full((len(sequences), longest), 2), torch.zeros(len(sequences), longest, dtype=torch.bool)
    for index, sequence in enumerate(sequences):
        positions = slice(longest - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[index, positions], mask[index, positions] = torch.tensor(sequence), True
    return ids, mask
