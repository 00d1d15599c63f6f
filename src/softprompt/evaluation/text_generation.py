"""Text generation for one or many examples: greedy or sampled, whole or streamed.

This is a plain loop over a fixed batch. For requests that come and go, use the engine, which samples, ends and decodes
responses by the same `OutputState`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.evaluation.non_finite import build_non_finite_error
from softprompt.model import FrozenModel, GenerativeModel, Payload
from softprompt.sampling import FinishReason, SamplingParams, TokenOutput
from softprompt.sampling.deferred_detokenizer import DeferredDetokenizer
from softprompt.sampling.output_state import Detokenizer, OutputState
from softprompt.sampling.stop_aware_detokenizer import StopAwareDetokenizer
from softprompt.sampling.token_sampler import sample_tokens
from softprompt.tasks.collation import apply_payload, pad_right
from softprompt.tasks.encoded_example import EncodedExample

logger = logging.getLogger(__name__)


@torch.no_grad()
def decode_steps(
    model: GenerativeModel,
    examples: Sequence[EncodedExample],
    payloads: Sequence[Payload | None],
    params: Sequence[SamplingParams],
    *,
    is_streamed: bool = True,
) -> Iterator[Mapping[int, TokenOutput]]:
    """Yield the next token of each unfinished response, by the index of its example, until all have ended.

    Args:
        model: model that generates.
        examples: encoded examples.
        payloads: compiled payload of each example.
        params: sampling parameters of each response.
        is_streamed: give each token the text that is certain with it; otherwise the last token may have all text.

    Raises:
        NonFiniteOutput: a prompt makes the model's output non-finite.
    """
    if not examples:
        return
    sequences = [apply_payload(example, payload)[0] for example, payload in zip(examples, payloads, strict=True)]
    states = [
        _start_response(model, sequence, response_params, is_streamed=is_streamed)
        for sequence, response_params in zip(sequences, params, strict=True)
    ]
    decoding = model.start_decoding(*pad_right(sequences, model.device), list(payloads))
    padding_id = 0 if model.eos_token_id is None else model.eos_token_id
    unfinished = list(range(len(examples)))
    while True:
        outputs = _sample_unfinished(model.compute_logits(decoding.last_hidden_state), states, unfinished)
        yield outputs
        unfinished = [i for i in unfinished if outputs[i].finish_reason is None]
        if not unfinished:
            return
        token_ids = dict.fromkeys(range(len(examples)), padding_id) | {i: outputs[i].token_id for i in unfinished}
        decoding = decoding.append_tokens(torch.tensor(list(token_ids.values()), device=model.device))


def _start_response(
    model: GenerativeModel, sequence: Sequence[int], params: SamplingParams, *, is_streamed: bool
) -> OutputState:
    decode = partial(_decode_text, model)
    detokenizer: Detokenizer = (
        StopAwareDetokenizer(decode, params.stop) if is_streamed or params.stop else DeferredDetokenizer(decode)
    )
    # The mark between the texts of an encoder and a decoder is larger than any token id.
    prompt_token_ids = [token_id for token_id in sequence if token_id < model.shape.vocab_size]
    grammar_state = None if params.grammar is None else params.grammar.create_state()
    return OutputState(params, prompt_token_ids, model.eos_token_ids, detokenizer, grammar_state)


def _sample_unfinished(logits: Tensor, states: Sequence[OutputState], unfinished: list[int]) -> dict[int, TokenOutput]:
    """Return the next token of each unfinished response."""
    if len(unfinished) < len(logits):
        logits = logits[unfinished]
    sampled = sample_tokens(logits, [states[i] for i in unfinished])
    if any(token.finish_reason is FinishReason.NON_FINITE for token in sampled):
        raise build_non_finite_error()
    if any(token.finish_reason is FinishReason.GRAMMAR_DEAD_END for token in sampled):
        logger.warning("the grammar allows no further token, so a response ends before it matches")
    return {i: states[i].accept_token(token) for i, token in zip(unfinished, sampled, strict=True)}


def _decode_text(model: GenerativeModel, token_ids: list[int]) -> str:
    return str(model.tokenizer.decode(token_ids, skip_special_tokens=True))


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
        sampling: sampling parameters. Example i draws with `seed` + i, whatever the batches.
        batch_size: maximum number of examples in a batch.
        on_progress: called with the number of finished responses.

    Raises:
        NonFiniteOutput: a prompt makes the model's output non-finite.
        SettingError: `logprobs` is given, or the biases or the grammar are for another vocabulary.
    """
    check_sampling(model, sampling)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
    texts = [""] * len(examples)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        steps = decode_steps(
            model,
            [examples[i] for i in indices],
            [payloads[i] for i in indices],
            [sampling.offset_seed(i) for i in indices],
            is_streamed=False,
        )
        for outputs in steps:
            for row, output in outputs.items():
                texts[indices[row]] += output.text
        if on_progress is not None:
            on_progress(start + len(indices))
    return [text.strip() for text in texts]


def stream_text(
    model: GenerativeModel, example: EncodedExample, payload: Payload | None, sampling: SamplingParams
) -> Iterator[str]:
    """Return the response to one example in chunks, none of which ends inside a character.

    Raises:
        NonFiniteOutput: the prompt makes the model's output non-finite.
        SettingError: `logprobs` is given, or the biases or the grammar are for another vocabulary.
    """
    check_sampling(model, sampling)
    chunks = (outputs[0].text for outputs in decode_steps(model, [example], [payload], [sampling]))
    return (chunk for chunk in chunks if chunk)


def check_sampling(model: FrozenModel, sampling: SamplingParams) -> None:
    """Check that the parameters request text of a model, and nothing else.

    Raises:
        SettingError: `logprobs` is given, or the biases or the grammar are for another vocabulary.
    """
    sampling.check_vocabulary(model.shape.vocab_size)
    if sampling.logprobs is not None:
        raise SettingError(
            f"`logprobs={sampling.logprobs}`: only text is returned here: choose None, or use softprompt.engine"
        )
