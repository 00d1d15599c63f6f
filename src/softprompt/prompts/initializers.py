"""Initializers of virtual tokens: functions that return embeddings `[P, H]` or keys and values `[L, 2, G, P, D]`.

Real text is the default everywhere: random initialization is what makes tutorials fail (Lester et al. 2021,
section 3.2; in peft's benchmark on GSM8K a prefix of 50 tokens from text reaches 41.6%, one of 200 random ones 18.6%).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, KVPrefix, Placement, PromptEmbeddings
from softprompt.saved import SavedPrompt
from softprompt.tasks import FewShotContext

# Lester et al. sample from the 5,000 most common tokens. Byte-pair vocabularies are sorted by merge order, so their
# first tokens are the common ones.
NUM_COMMON_TOKENS = 5000


@dataclass(frozen=True)
class InitialValue:
    """The initial value of virtual tokens.

    Attributes:
        tensor: embeddings `[P, H]`, or keys and values `[L, 2, G, P, D]`.
        description: text that describes the source of the value.
    """

    tensor: Tensor
    description: str


@dataclass(frozen=True)
class InitContext:
    """The inputs of an initializer.

    Attributes:
        model: the frozen model.
        num_virtual_tokens: number of virtual tokens, P.
        placement: placement of the virtual tokens.
        argument: text after the colon of `init`, or the task's default text.
        generator: source of all randomness, on the CPU.
        demonstrations: the task's examples with their answers, for initializers that use them.
    """

    model: FrozenModel
    num_virtual_tokens: int
    placement: Placement
    argument: str
    generator: torch.Generator
    demonstrations: FewShotContext | None = None


def random_embeddings(context: InitContext) -> InitialValue:
    """Return normal noise at the scale of the word embeddings, `[P, H]`."""
    shape = (context.num_virtual_tokens, context.model.shape.embedding_size)
    noise = torch.randn(shape, generator=context.generator) * context.model.embedding_rms
    return InitialValue(noise, "random noise at the scale of the word embeddings")


def zero_embeddings(context: InitContext) -> InitialValue:
    """Return zeros, `[P, H]`."""
    return InitialValue(torch.zeros(context.num_virtual_tokens, context.model.shape.embedding_size), "zeros")


def from_vocabulary_sample(context: InitContext) -> InitialValue:
    """Return the embeddings of randomly drawn common tokens, `[P, H]` (Lester et al. 2021)."""
    num_common = min(NUM_COMMON_TOKENS, context.model.shape.vocab_size)
    ids = torch.randint(0, num_common, (context.num_virtual_tokens,), generator=context.generator).tolist()
    return InitialValue(
        _embed_tokens(context.model, ids), f"tokens drawn from the vocabulary: {_format_tokens(context.model, ids)}"
    )


def from_text(context: InitContext) -> InitialValue:
    """Return the embeddings of a text's tokens, `[P, H]`, truncated at the end or repeated at the start."""
    ids, P = _tokenize_argument(context), context.num_virtual_tokens
    fitted_ids = ids[:P] if len(ids) >= P else _repeat_text(context.model, context.argument, P)
    return _make_text_value(context.model, fitted_ids, len(ids))


def from_demonstrations(context: InitContext) -> InitialValue:
    """Return the embeddings of examples with their answers, or else of a text, `[P, H]`; P is their length.

    A text longer than `num_virtual_tokens` is truncated at its end. (Blau et al. 2024, arXiv 2410.17222.)
    """
    if context.demonstrations is not None:
        ids = list(context.demonstrations.token_ids)
        num_examples = len(context.demonstrations.answer_ranges)
        return InitialValue(
            _embed_tokens(context.model, ids),
            f"{num_examples} examples with their answers: {_format_tokens(context.model, ids)} (tokens: {len(ids)})",
        )
    ids = _tokenize_argument(context)
    return _make_text_value(context.model, ids[: context.num_virtual_tokens], len(ids))


def from_saved_prompt(context: InitContext) -> InitialValue:
    """Return the virtual tokens of a saved prompt whose payload is embeddings, `[P, H]`."""
    payload = _load_payload(context)
    if not isinstance(payload, PromptEmbeddings):
        raise SettingError(f'{context.argument} is a prefix: only a prefix can start from it (`method="prefix"`)')
    return InitialValue(
        _require_same_length(context, payload.tensor, payload.num_virtual_tokens), f"saved prompt {context.argument}"
    )


def make_prefix_initializer(
    embedding_initializer: Callable[[InitContext], InitialValue],
) -> Callable[[InitContext], InitialValue]:
    """Make an initializer of prefixes: the keys and values, `[L, 2, G, P, D]`, of another one's embeddings."""

    def initialize_prefix(context: InitContext) -> InitialValue:
        embeddings = embedding_initializer(context)
        return InitialValue(
            _compute_keys_and_values(context, embeddings.tensor), f"keys and values of {embeddings.description}"
        )

    return initialize_prefix


def random_prefix(context: InitContext) -> InitialValue:
    """Return normal noise, `[L, 2, G, P, D]`, at the scale of a text's keys and values in each layer."""
    reference = _compute_keys_and_values(context, from_vocabulary_sample(context).tensor)
    scale = reference.pow(2).mean(dim=(2, 3, 4), keepdim=True).sqrt()
    return InitialValue(torch.randn(reference.shape, generator=context.generator) * scale, "random keys and values")


def zero_prefix(context: InitContext) -> InitialValue:
    """Return keys and values of zero, `[L, 2, G, P, D]`, which take attention but add nothing."""
    return InitialValue(
        torch.zeros(context.model.shape.get_prefix_shape(context.num_virtual_tokens)), "keys and values of zero"
    )


def from_saved_prefix(context: InitContext) -> InitialValue:
    """Return the prefix of a saved prompt, `[L, 2, G, P, D]`; embeddings are compiled."""
    with torch.no_grad():
        payload = context.model.compile_payload(_load_payload(context))
    if not isinstance(payload, KVPrefix):
        raise SettingError(f"the virtual tokens of {context.argument} read the text: no prefix can start from them")
    tensor = payload.tensor[:, :, :, payload.has_bos :]
    return InitialValue(
        _require_same_length(context, tensor, payload.num_virtual_tokens), f"saved prompt {context.argument}"
    )


EMBEDDING_INITIALIZERS: dict[str, Callable[[InitContext], InitialValue]] = {
    "text": from_text,
    "labels": from_text,
    "vocab": from_vocabulary_sample,
    "random": random_embeddings,
    "zeros": zero_embeddings,
    "prompt": from_saved_prompt,
}

PREFIX_INITIALIZERS: dict[str, Callable[[InitContext], InitialValue]] = {
    "text": make_prefix_initializer(from_text),
    "labels": make_prefix_initializer(from_text),
    "vocab": make_prefix_initializer(from_vocabulary_sample),
    "random": random_prefix,
    "zeros": zero_prefix,
    "prompt": from_saved_prefix,
}

CONTEXT_INITIALIZERS: dict[str, Callable[[InitContext], InitialValue]] = {"text": from_demonstrations}


def _tokenize_argument(context: InitContext) -> list[int]:
    ids = context.model.prompt_tokenizer.tokenize(context.argument)
    if not ids:
        raise SettingError('the initial text is empty: write `init="text:what the task is"`')
    return ids


def _repeat_text(model: FrozenModel, text: str, length: int) -> list[int]:
    """Repeat a text and return its last `length` tokens, which end where the text ends."""
    gap = "" if text[-1].isspace() else " "
    times = length // len(model.prompt_tokenizer.tokenize(text)) + 2
    return model.prompt_tokenizer.tokenize(gap.join([text] * times))[-length:]


def _make_text_value(model: FrozenModel, ids: list[int], num_text_tokens: int) -> InitialValue:
    """Make the initial value of tokens that were fitted from a text of `num_text_tokens` tokens."""
    fit = _describe_fit(num_text_tokens, len(ids))
    return InitialValue(_embed_tokens(model, ids), f"text {_format_tokens(model, ids)} (tokens: {fit})")


def _describe_fit(num_text_tokens: int, num_virtual_tokens: int) -> str:
    if num_text_tokens > num_virtual_tokens:
        return f"cut from {num_text_tokens} to {num_virtual_tokens}"
    if num_text_tokens < num_virtual_tokens:
        return f"{num_text_tokens}, repeated to {num_virtual_tokens}"
    return str(num_virtual_tokens)


def _embed_tokens(model: FrozenModel, ids: Sequence[int]) -> Float[Tensor, "P H"]:
    return model.embed_tokens(torch.tensor([ids], device=model.device))[0].float().cpu()


def _compute_keys_and_values(context: InitContext, embeddings: Tensor) -> Float[Tensor, "L 2 G P D"]:
    model = context.model
    with torch.no_grad():
        payload = model.compile_payload(PromptEmbeddings(embeddings.to(model.device), context.placement))
        if isinstance(payload, KVPrefix):
            return payload.tensor[:, :, :, payload.has_bos :].float().cpu()
        return model.compute_kv(payload.tensor).float().cpu()  # in a masked model, those of the text by itself


def _load_payload(context: InitContext) -> PromptEmbeddings | KVPrefix:
    saved = SavedPrompt.from_folder(Path(context.argument))
    saved.check_base_model(context.model)
    return saved.payload


def _require_same_length(context: InitContext, tensor: Tensor, num_virtual_tokens: int) -> Tensor:
    if num_virtual_tokens != context.num_virtual_tokens:
        raise SettingError(
            f"{context.argument} has {num_virtual_tokens} virtual tokens, not {context.num_virtual_tokens}: "
            f"choose `num_virtual_tokens={num_virtual_tokens}`"
        )
    return tensor.float().cpu()


def _format_tokens(model: FrozenModel, ids: list[int]) -> str:
    return repr(model.tokenizer.decode(ids))
