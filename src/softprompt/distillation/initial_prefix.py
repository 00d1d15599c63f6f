"""Initial values of a distilled prefix, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from softprompt.distillation.attention_matching import compress_prefix, truncate_prefix
from softprompt.distillation.context import Context
from softprompt.distillation.reference_queries import compute_reference_queries, split_into_chunks
from softprompt.errors import SettingError
from softprompt.model import CausalModel, KVPrefix
from softprompt.model.hooks.query_recorder import can_record_queries
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.spread_cache import get_kv_spread
from softprompt.tasks import EncodedExample

MAX_REFERENCE_TOKENS = 4096  # of inputs with their responses, whose queries are matched


@dataclass(frozen=True)
class PrefixInitContext:
    """What an initial prefix is computed from.

    Attributes:
        model: model of the prefix.
        context: text to distill.
        inputs: inputs with the teacher's responses; may be empty.
        num_virtual_tokens: number of virtual tokens, P.
        seed: seed of random values.
    """

    model: CausalModel
    context: Context
    inputs: Sequence[EncodedExample]
    num_virtual_tokens: int
    seed: int = 0

    @property
    def length_change(self) -> str:
        """Description of the two lengths."""
        return f"{self.context.num_tokens} tokens to {self.num_virtual_tokens}"


def match_attention(init: PrefixInitContext) -> InitialValue:
    """Return keys and values whose attention output is that of the whole text, `[L, 2, G, P, D]`.

    It is matched at the tokens of inputs and responses, or else of the text itself.

    Raises:
        SettingError: The queries of the model's family cannot be read.
    """
    queries = compute_reference_queries(init.model, init.context.prefix, _collect_reference_texts(init))
    prefix = compress_prefix(init.model, init.context.prefix, queries, init.num_virtual_tokens)
    return _make_value(prefix, f"attention matching, {init.length_change}")


def take_last_tokens(init: PrefixInitContext) -> InitialValue:
    """Return the keys and values of the first token and of the last ones, `[L, 2, G, P, D]`."""
    prefix = truncate_prefix(init.model, init.context.prefix, init.num_virtual_tokens)
    return _make_value(prefix, f"the first and the last tokens, {init.length_change}")


def draw_random(init: PrefixInitContext) -> InitialValue:
    """Return normal noise around the mean of the text's keys and values, `[L, 2, G, P, D]`, with their spread."""
    tensor = init.context.prefix.tensor.float().cpu()
    mean = tensor.mean(dim=3, keepdim=True)
    generator = torch.Generator().manual_seed(init.seed)
    shape = (*tensor.shape[:3], init.num_virtual_tokens, tensor.shape[4])
    noise = torch.randn(shape, generator=generator) * get_kv_spread(init.model).cpu()[:, :, None, None, None]
    return InitialValue(mean + noise, "random keys and values")


ATTENTION_MATCHING, LAST_TOKENS = "attention-matching", "last-tokens"

DISTILL_INITIALIZERS: dict[str, Callable[[PrefixInitContext], InitialValue]] = {
    ATTENTION_MATCHING: match_attention,
    LAST_TOKENS: take_last_tokens,
    "random": draw_random,
}


def select_initializer(name: str | None, model: CausalModel) -> Callable[[PrefixInitContext], InitialValue]:
    """Return the initializer with a name; None for the best one that the model supports.

    Raises:
        SettingError: The model does not support the initializer.
    """
    return DISTILL_INITIALIZERS[resolve_initializer_name(name, model)]


def resolve_initializer_name(name: str | None, model: CausalModel) -> str:
    """Return the name of an initializer: the given one, or else the best one that the model supports.

    Raises:
        SettingError: The model does not support the initializer.
    """
    has_queries = can_record_queries(model.network)
    if name == ATTENTION_MATCHING and not has_queries:
        raise SettingError(
            f'`init="{name}"` needs the queries of the attention, which {model.name} does not show: choose '
            f'`init="{LAST_TOKENS}"`'
        )
    return name or (ATTENTION_MATCHING if has_queries else LAST_TOKENS)


def _collect_reference_texts(init: PrefixInitContext) -> list[list[int]]:
    """Return the token ids of inputs with their responses as they follow the text, or else of the text in chunks."""
    texts, num_tokens = list[list[int]](), 0
    for example in init.inputs:
        text = [*init.context.prefix.apply_to_prompt(example.prompt_ids), *example.response_ids]
        num_tokens += len(text)
        if texts and num_tokens > MAX_REFERENCE_TOKENS:
            break
        texts.append(text)
    context = init.context
    num_free = init.model.shape.window - context.prefix.num_positions
    return texts or split_into_chunks(context.prefix.apply_to_prompt(list(context.token_ids)), num_free)


def _make_value(prefix: KVPrefix, description: str) -> InitialValue:
    """Make the initial value of the virtual tokens, which BOS is not part of."""
    return InitialValue(prefix.tensor[:, :, :, prefix.has_bos :].float().cpu(), description)
