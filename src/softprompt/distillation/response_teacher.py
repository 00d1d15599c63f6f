"""A teacher of responses: the frozen model behind the whole text, which writes responses and rates each token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softprompt.distillation.context import Context
from softprompt.evaluation.text_generation import decode_steps
from softprompt.sampling import SamplingParams
from softprompt.tasks import EncodedExample, ResponseTarget
from softprompt.tasks.encoded_example import SoftResponseTarget, get_supervision
from softprompt.tasks.language_modeling_objective import MAX_LOGITS, LanguageModelingObjective
from softprompt.tasks.length_buckets import bucket_by_length

DECODING_BATCH_SIZE = 32  # responses that are written together


class ResponseTeacher:
    """The frozen model behind the whole text, as a teacher of responses.

    Args:
        objective: objective of the generation or chat on the teacher's model.
        context: text in front of the inputs.
        max_new_tokens: maximum length of a response, in tokens.
        num_top_tokens: number of likeliest tokens whose probabilities are kept.
    """

    def __init__(
        self, objective: LanguageModelingObjective, context: Context, max_new_tokens: int, num_top_tokens: int
    ):
        self.objective, self.context, self.max_new_tokens = objective, context, max_new_tokens
        self.num_top_tokens = min(num_top_tokens, objective.model.shape.vocab_size)

    def add_targets(
        self, examples: Sequence[EncodedExample], on_progress: Callable[[int], None] | None = None
    ) -> list[EncodedExample]:
        """Return the inputs with the teacher's greedy responses and its probabilities as supervision.

        Args:
            examples: encoded inputs; those with a response keep it.
            on_progress: called with the number of finished examples.
        """
        answered: dict[int, EncodedExample] = {}
        order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
        for start in range(0, len(order), DECODING_BATCH_SIZE):
            indices = order[start : start + DECODING_BATCH_SIZE]
            written = self._write_missing_responses([examples[i] for i in indices])
            answered |= zip(indices, self._rate_tokens(written), strict=True)
            if on_progress is not None:
                on_progress(len(answered))
        return [answered[i] for i in range(len(examples))]

    def _write_missing_responses(self, examples: Sequence[EncodedExample]) -> list[EncodedExample]:
        """Return the examples, with the teacher's response where there is none."""
        responses = iter(self._write_responses([example for example in examples if example.supervision is None]))
        return [
            replace(example, supervision=ResponseTarget.from_tokens(next(responses)))
            if example.supervision is None
            else example
            for example in examples
        ]

    def _write_responses(self, examples: Sequence[EncodedExample]) -> list[list[int]]:
        """Write the greedy response to each input, with the token that ends it."""
        responses: list[list[int]] = [[] for _ in examples]
        sampling = SamplingParams(max_new_tokens=self.max_new_tokens)
        payloads = [self.context.prefix] * len(examples)
        for outputs in decode_steps(
            self.objective.model, examples, payloads, [sampling] * len(examples), is_streamed=False
        ):
            for index, output in outputs.items():
                if output.token_id is not None:
                    responses[index].append(output.token_id)
        return responses

    def _rate_tokens(self, examples: Sequence[EncodedExample]) -> list[EncodedExample]:
        """Add the probabilities of the likeliest tokens at each token of the responses."""
        rated: dict[int, EncodedExample] = {}
        for indices in bucket_by_length([len(example) for example in examples], self.objective.model):
            bucket = [examples[i] for i in indices]
            for index, example, (token_ids, log_probs) in zip(indices, bucket, self._iter_top(bucket), strict=True):
                response = get_supervision(example, ResponseTarget)
                rated[index] = replace(
                    example,
                    supervision=SoftResponseTarget(
                        response.token_ids,
                        response.loss_positions,
                        top_token_ids=token_ids,
                        top_log_probs=log_probs,
                    ),
                )
        return [rated[i] for i in range(len(examples))]

    @torch.no_grad()
    def _iter_top(
        self, examples: Sequence[EncodedExample]
    ) -> Iterator[tuple[Int[Tensor, "n C"], Float[Tensor, "n C"]]]:
        """Yield the likeliest tokens of each example, and their log-probabilities, on the CPU."""
        batch = self.objective.collate(examples, self.context.prefix)
        hidden_states = self.objective.forward_batch(batch, self.context.prefix)
        chunk_size = max(1, MAX_LOGITS // self.objective.model.shape.vocab_size)
        tops = [
            self.objective.model.compute_logits(chunk).log_softmax(dim=-1).topk(self.num_top_tokens)
            for chunk in hidden_states.split(chunk_size)
        ]
        counts = batch.example_weights.long().tolist()
        token_ids, log_probs = (
            torch.cat(parts).cpu().split(counts) for parts in zip(*((t.indices, t.values) for t in tops), strict=True)
        )
        yield from zip(token_ids, log_probs, strict=True)
