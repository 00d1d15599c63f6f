"""Text generation for one or many examples: greedy or sampled, whole or streamed.

This is a plain loop over a fixed batch. For requests that come and go, use the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from softprompt.errors import SettingError
from softprompt.evaluation.non_finite import build_non_finite_error
from softprompt.model import GenerativeModel, Payload
from softprompt.sampling.finite_logits import has_finite_logits
from softprompt.sampling.incremental_detokenizer import IncrementalDetokenizer
from softprompt.tasks.collation import apply_payload, pad_right
from softprompt.tasks.encoded_example import EncodedExample

MAX_GREEDY_TEMPERATURE = 1e-5
"""Largest temperature at which sampling is greedy: logits divided by such a small number may be infinite."""


@dataclass(frozen=True)
class SamplingParams:
    """Sampling parameters.

    Attributes:
        max_new_tokens: maximum length of the response, in tokens.
        temperature: divisor of the logits. Up to `MAX_GREEDY_TEMPERATURE` sampling is greedy.
        top_p: nucleus sampling: keep the fewest tokens with this total probability.
        top_k: number of most probable tokens to keep; 0 keeps all.
        seed: seed of the random draws.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            f"`max_new_tokens={self.max_new_tokens}`: choose at least 1": self.max_new_tokens >= 1,
            f"`temperature={self.temperature}`: choose 0 or more": self.temperature >= 0,
            f"`top_p={self.top_p}`: choose above 0, up to 1": 0 < self.top_p <= 1,
            f"`top_k={self.top_k}`: choose 0 or more": self.top_k >= 0,
        }
        if errors := [message for message, is_valid in checks.items() if not is_valid]:
            raise SettingError("; ".join(errors))


@torch.no_grad()
def decode_steps(
    model: GenerativeModel,
    examples: Sequence[EncodedExample],
    payloads: Sequence[Payload | None],
    sampling: SamplingParams,
) -> Iterator[Int[Tensor, "B"]]:
    """Yield the next token of each example until all responses have ended; an ended response repeats its EOS token.

    Raises:
        NonFiniteOutput: a prompt makes the model's output non-finite.
    """
    if not examples:
        return
    input_ids, mask = pad_right(
        [apply_payload(example, payload)[0] for example, payload in zip(examples, payloads, strict=True)], model.device
    )
    state = model.start_decoding(input_ids, mask, list(payloads))
    sampler = _TokenSampler(sampling)
    eos_token_ids = torch.tensor(model.eos_token_ids, dtype=torch.long, device=model.device)
    padding_id = 0 if model.eos_token_id is None else model.eos_token_id
    has_ended = torch.zeros(len(examples), dtype=torch.bool, device=model.device)
    for remaining in range(sampling.max_new_tokens, 0, -1):
        logits = model.compute_logits(state.last_hidden_state)
        if not has_finite_logits(logits).all():
            raise build_non_finite_error()
        token_ids = torch.where(has_ended, padding_id, sampler(input_ids, logits))
        yield token_ids
        has_ended |= torch.isin(token_ids, eos_token_ids)
        if bool(has_ended.all()) or remaining == 1:
            return
        state = state.append_tokens(token_ids)


def generate_texts(
    model: GenerativeModel,
    examples: Sequence[EncodedExample],
    payloads: Sequence[Payload | None],
    sampling: SamplingParams,
    batch_size: int = 16,
    on_progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Return the responses to examples, in input order and without surrounding white space.

    Args:
        model: model that generates.
        examples: encoded examples.
        payloads: compiled payload of each example.
        sampling: sampling parameters.
        batch_size: maximum number of examples in a batch.
        on_progress: called with the number of finished responses.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
    texts = [""] * len(examples)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        steps = list(decode_steps(model, [examples[i] for i in indices], [payloads[i] for i in indices], sampling))
        for i, token_ids in zip(indices, torch.stack(steps, dim=1).tolist(), strict=True):
            texts[i] = decode_response(model, token_ids).strip()
        if on_progress is not None:
            on_progress(start + len(indices))
    return texts


def stream_text(
    model: GenerativeModel, example: EncodedExample, payload: Payload | None, sampling: SamplingParams
) -> Iterator[str]:
    """Yield the response to one example in chunks, none of which ends inside a character."""
    detokenizer = IncrementalDetokenizer(lambda token_ids: decode_response(model, token_ids))
    for token_ids in decode_steps(model, [example], [payload], sampling):
        if int(token_ids[0]) in model.eos_token_ids:
            break
        if chunk := detokenizer.push_token(int(token_ids[0])):
            yield chunk
    if remaining := detokenizer.flush_text():
        yield remaining


def decode_response(model: GenerativeModel, token_ids: list[int]) -> str:
    """Decode a response up to its first end-of-sequence token."""
    end = next((i for i, token_id in enumerate(token_ids) if token_id in model.eos_token_ids), None)
    return str(model.tokenizer.decode(token_ids[:end], skip_special_tokens=True))


class _TokenSampler:
    """Token sampler: greedy, or by transformers' logits warpers."""

    def __init__(self, sampling: SamplingParams):
        self.is_greedy = sampling.temperature <= MAX_GREEDY_TEMPERATURE
        self.generator = torch.Generator().manual_seed(sampling.seed)
        self.warpers = LogitsProcessorList()
        if not self.is_greedy:
            self.warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            self.warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self.warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, ids: Int[Tensor, "B T"], logits: Float[Tensor, "B V"]) -> Int[Tensor, "B"]:
        if self.is_greedy:
            return logits.argmax(dim=-1)
        probabilities = self.warpers(cast(torch.LongTensor, ids), cast(torch.FloatTensor, logits)).softmax(dim=-1).cpu()
        return torch.multinomial(probabilities, 1, generator=self.generator)[:, 0].to(logits.device)
