"""Where virtual tokens start, as functions: from embeddings `[P, H]`, or from keys and values `[L, 2, G, P, D]`.

Starting from real text is the default everywhere: random starts are what makes tutorials fail (Lester et al. 2021,
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
from softprompt.model import Embeddings, FrozenModel, Placement, Prefix
from softprompt.saved import SavedPrompt
from softprompt.tasks import Demonstrations

# Lester et al. sample from the 5,000 most common tokens; byte-pair vocabularies are in order of merging, so their
# beginning is the common part.
COMMON_TOKENS = 5000


@dataclass(frozen=True)
class Start:
    """Where the virtual tokens start, and `used`: in words, what they were made of."""

    tensor: Tensor
    used: str


@dataclass(frozen=True)
class StartRequest:
    """What a start may depend on.

    Attributes:
        model: the frozen model.
        num_virtual_tokens: P.
        placement: where the virtual tokens will stand.
        argument: what the user wrote behind the colon of `init`, or the task's own words.
        generator: the source of all randomness, on the CPU.
        shown: the task's examples with their answers, for a start that shows some.
    """

    model: FrozenModel
    num_virtual_tokens: int
    placement: Placement
    argument: str
    generator: torch.Generator
    shown: Demonstrations | None = None


def random(request: StartRequest) -> Start:
    """Normal noise at the scale of the word embeddings, `[P, H]`."""
    shape = (request.num_virtual_tokens, request.model.shape.embedding_size)
    noise = torch.randn(shape, generator=request.generator) * request.model.embedding_scale
    return Start(noise, "random noise at the scale of the word embeddings")


def zeros(request: StartRequest) -> Start:
    """Nothing, `[P, H]`."""
    return Start(torch.zeros(request.num_virtual_tokens, request.model.shape.embedding_size), "zeros")


def sampled_vocabulary(request: StartRequest) -> Start:
    """The embeddings of common tokens drawn at random, `[P, H]` (Lester et al. 2021)."""
    common = min(COMMON_TOKENS, request.model.shape.vocab_size)
    ids = torch.randint(0, common, (request.num_virtual_tokens,), generator=request.generator).tolist()
    return Start(_embedded(request.model, ids), f"tokens drawn from the vocabulary: {_shown(request.model, ids)}")


def text(request: StartRequest) -> Start:
    """The embeddings of a text's tokens, `[P, H]`, cut at the end or repeated in front; no special tokens are added."""
    ids, P = _tokens(request), request.num_virtual_tokens
    fitted = ids[:P] if len(ids) >= P else _repeated(request.model, request.argument, P)
    fate = f"cut from {len(ids)} to {P}" if len(ids) > P else f"{len(ids)}, repeated to {P}" if len(ids) < P else f"{P}"
    return Start(_embedded(request.model, fitted), f"text {_shown(request.model, fitted)} (tokens: {fate})")


def context(request: StartRequest) -> Start:
    """The embeddings of examples with their answers, or else of a text, `[P, H]`: P is what they need, never more.

    A text that is longer is cut at its end. (Blau et al. 2024, arXiv 2410.17222.)
    """
    if request.shown is not None:
        ids, what = list(request.shown.ids), f"{len(request.shown.answers)} examples with their answers"
        return Start(_embedded(request.model, ids), f"{what}: {_shown(request.model, ids)} (tokens: {len(ids)})")
    ids = _tokens(request)
    fitted = ids[: request.num_virtual_tokens]
    fate = f"cut from {len(ids)} to {len(fitted)}" if len(ids) > len(fitted) else f"{len(ids)}"
    return Start(_embedded(request.model, fitted), f"text {_shown(request.model, fitted)} (tokens: {fate})")


def saved_prompt(request: StartRequest) -> Start:
    """The virtual tokens of another prompt that is saved as embeddings, `[P, H]`."""
    payload = _load(request)
    if not isinstance(payload, Embeddings):
        raise SettingError(f'{request.argument} is a prefix: only a prefix can start from it (`method="prefix"`)')
    return Start(_same_length(request, payload.tensor, payload.num_virtual_tokens), f"saved prompt {request.argument}")


def prefix_of(initialiser: Callable[[StartRequest], Start]) -> Callable[[StartRequest], Start]:
    """An initialiser for prefixes: the keys and values, `[L, 2, G, P, D]`, that another one's embeddings leave."""

    def initialise(request: StartRequest) -> Start:
        start = initialiser(request)
        return Start(_keys_and_values(request, start.tensor), f"keys and values of {start.used}")

    return initialise


def random_prefix(request: StartRequest) -> Start:
    """Normal noise, `[L, 2, G, P, D]`, at the scale that the keys and the values of a text have in each layer."""
    reference = _keys_and_values(request, sampled_vocabulary(request).tensor)
    scale = reference.pow(2).mean(dim=(2, 3, 4), keepdim=True).sqrt()
    return Start(torch.randn(reference.shape, generator=request.generator) * scale, "random keys and values")


def zero_prefix(request: StartRequest) -> Start:
    """Keys and values of zero, `[L, 2, G, P, D]`: attended to like any token, adding nothing."""
    return Start(torch.zeros(request.model.shape.prefix(request.num_virtual_tokens)), "keys and values of zero")


def saved_prefix(request: StartRequest) -> Start:
    """Another prompt's prefix, `[L, 2, G, P, D]`; embeddings are compiled."""
    with torch.no_grad():
        payload = request.model.compile(_load(request))
    if not isinstance(payload, Prefix):
        raise SettingError(f"the virtual tokens of {request.argument} read the text: no prefix can start from them")
    tensor = payload.tensor[:, :, :, payload.has_bos :]
    return Start(_same_length(request, tensor, payload.num_virtual_tokens), f"saved prompt {request.argument}")


EMBEDDING_STARTS: dict[str, Callable[[StartRequest], Start]] = {
    "text": text,
    "labels": text,
    "vocab": sampled_vocabulary,
    "random": random,
    "zeros": zeros,
    "prompt": saved_prompt,
}

PREFIX_STARTS: dict[str, Callable[[StartRequest], Start]] = {
    "text": prefix_of(text),
    "labels": prefix_of(text),
    "vocab": prefix_of(sampled_vocabulary),
    "random": random_prefix,
    "zeros": zero_prefix,
    "prompt": saved_prefix,
}

CONTEXT_STARTS: dict[str, Callable[[StartRequest], Start]] = {"text": context}


def _tokens(request: StartRequest) -> list[int]:
    ids = request.model.tokenize(request.argument)
    if not ids:
        raise SettingError('the initial text is empty: write `init="text:what the task is"`')
    return ids


def _repeated(model: FrozenModel, text: str, length: int) -> list[int]:
    """A text again and again, as its last `length` tokens: it ends where the text ends, and what follows is next."""
    gap = "" if text[-1].isspace() else " "
    times = length // len(model.tokenize(text)) + 2
    return model.tokenize(gap.join([text] * times))[-length:]


def _embedded(model: FrozenModel, ids: Sequence[int]) -> Float[Tensor, "P H"]:
    return model.embed(torch.tensor([ids], device=model.device))[0].float().cpu()


def _keys_and_values(request: StartRequest, embeddings: Tensor) -> Float[Tensor, "L 2 G P D"]:
    model = request.model
    with torch.no_grad():
        payload = model.compile(Embeddings(embeddings.to(model.device), request.placement))
        if isinstance(payload, Prefix):
            return payload.tensor[:, :, :, payload.has_bos :].float().cpu()
        return model.prefill(payload.tensor).float().cpu()  # in a masked model, those of the text by itself


def _load(request: StartRequest) -> Embeddings | Prefix:
    saved = SavedPrompt.read(Path(request.argument))
    saved.check_base(request.model)
    return saved.payload


def _same_length(request: StartRequest, tensor: Tensor, num_virtual_tokens: int) -> Tensor:
    if num_virtual_tokens != request.num_virtual_tokens:
        raise SettingError(
            f"{request.argument} has {num_virtual_tokens} virtual tokens, not {request.num_virtual_tokens}: "
            f"choose `num_virtual_tokens={num_virtual_tokens}`"
        )
    return tensor.float().cpu()


def _shown(model: FrozenModel, ids: list[int]) -> str:
    return repr(model.tokenizer.decode(ids))
