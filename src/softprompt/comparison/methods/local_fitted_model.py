"""A fitted model that runs locally: its evaluation, serving benchmark and reference loss."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from softprompt.comparison.methods.fitted_model import (
    GENERATION_MAX_TOKENS,
    GENERATION_SAMPLES,
    EvalResult,
    FittedModel,
    ServingResult,
    TrainingRecord,
)
from softprompt.data import Example
from softprompt.evaluation.batch_inference import collect_outputs, compute_metrics
from softprompt.evaluation.evaluate import generate_responses
from softprompt.evaluation.text_generation import generate_texts
from softprompt.model import BatchPayloads, CausalModel, FrozenModel, Payload
from softprompt.sampling import SamplingParams
from softprompt.tasks import EncodedExample, GenerationTask, Objective, ResponseTarget
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from softprompt.tasks.metrics.text_metrics import confusion_matrix, corpus_bleu_score

SERVING_BATCH_SIZE, LATENCY_SAMPLES = 32, 5
SERVING_MAX_TOKENS = 16
REFERENCE_TEXT_TOKENS = 256


@dataclass(frozen=True)
class LocalFittedModel(FittedModel):
    """An adapted model with its task and its compiled prompt.

    Attributes:
        objective: task on the adapted model.
        payload: compiled prompt; None without one.
        supports_mixed_batches: whether examples of many tasks share a forward pass.
    """

    objective: Objective
    payload: Payload | None = None
    num_trained_parameters: int = 0
    stored_bytes: int = 0
    shares_base_weights: bool = True
    supports_mixed_batches: bool = False
    training_record: TrainingRecord | None = None

    @torch.no_grad()
    def evaluate(self, examples: Sequence[Example]) -> EvalResult:
        """Compute the metrics and scores; for a generation task also the BLEU of the first responses."""
        rows = [self.objective.encode_example(example) for example in examples]
        outputs = collect_outputs(self.objective, self.payload, rows)
        metrics, scores = self.objective.compute_metrics(outputs, rows), self.objective.score_examples(outputs, rows)
        if isinstance(self.objective, LanguageModelingObjective):
            some = examples[:GENERATION_SAMPLES]
            texts = generate_responses(
                self.objective, self.payload, some, make_greedy_sampling_params(GENERATION_MAX_TOKENS, self.objective)
            )
            metrics["bleu"] = corpus_bleu_score(texts, [self.objective.get_references(example) for example in some])
        if not isinstance(self.objective, ClassificationObjective):
            return EvalResult(metrics, scores)
        right = torch.tensor([row.label_index for row in rows])
        table = confusion_matrix(outputs.argmax(dim=1), right, len(self.objective.task.labels))
        return EvalResult(metrics, scores, table.tolist())

    @torch.no_grad()
    def compute_reference_loss(self, texts: Sequence[str]) -> float | None:
        """Return the loss per token of texts, each truncated; causal models only."""
        return compute_reference_loss(self.objective.model, self.payload, texts)

    @torch.no_grad()
    def benchmark_serving(self, examples: Sequence[Example], num_tasks: int) -> ServingResult:
        """Time a single request and a batch of one task, or one request of each of several tasks.

        If tasks cannot share a forward pass, their requests run one by one. The cost of switching weights between
        them is left out, so the result favors such methods.
        """
        rows = self._encode_requests(examples)
        if num_tasks == 1:
            self._run_batch(rows, self.payload)  # warm-up
            alone = fmean(self._time_batch([row], self.payload) for row in rows[:LATENCY_SAMPLES])
            return self._make_serving_result(alone, rows, self._time_batch(rows, self.payload))
        many = [rows[i % len(rows)] for i in range(num_tasks)]
        size = SERVING_BATCH_SIZE if self.supports_mixed_batches else 1
        passes = [many[i : i + size] for i in range(0, num_tasks, size)]
        self._run_batch(passes[0], self._get_batch_payloads(passes[0]))
        return self._serve_batches(passes)

    def _serve_batches(self, batches: Sequence[list[EncodedExample]]) -> ServingResult:
        """The rows of passes that run one after the other, all of which arrived at the beginning."""
        elapsed, waited = 0.0, 0.0
        for rows in batches:
            elapsed += self._time_batch(rows, self._get_batch_payloads(rows))
            waited += elapsed * len(rows)
        every = [row for rows in batches for row in rows]
        return self._make_serving_result(waited / len(every), every, elapsed)

    def _make_serving_result(self, latency: float, batch: Sequence[EncodedExample], seconds: float) -> ServingResult:
        written = (
            make_greedy_sampling_params(SERVING_MAX_TOKENS, self.objective).max_new_tokens if self._is_generative else 0
        )
        tokens = sum(len(row) + written for row in batch)
        return ServingResult(latency, len(batch) / seconds, tokens / seconds)

    def _get_batch_payloads(self, batch: Sequence[EncodedExample]) -> BatchPayloads:
        """Return a payload for each example, as if each belonged to another task."""
        return self.payload if len(batch) == 1 else [self.payload] * len(batch)

    @property
    def _is_generative(self) -> bool:
        return isinstance(self.objective, LanguageModelingObjective)

    def _encode_requests(self, examples: Sequence[Example]) -> list[EncodedExample]:
        some = examples[:SERVING_BATCH_SIZE]
        if isinstance(self.objective, LanguageModelingObjective):
            most = make_greedy_sampling_params(SERVING_MAX_TOKENS, self.objective).max_new_tokens
            return [self.objective.encode_without_answer(example, most) for example in some]
        return [self.objective.encode_example(example) for example in some]

    def _time_batch(self, batch: list[EncodedExample], payloads: BatchPayloads) -> float:
        started = time.perf_counter()
        self._run_batch(batch, payloads)
        return time.perf_counter() - started

    def _run_batch(self, batch: list[EncodedExample], payloads: BatchPayloads) -> None:
        if isinstance(self.objective, LanguageModelingObjective):
            each = list(payloads) if isinstance(payloads, Sequence) else [payloads] * len(batch)
            generate_texts(
                self.objective.model, batch, each, make_greedy_sampling_params(SERVING_MAX_TOKENS, self.objective)
            )
        else:
            collect_outputs(self.objective, payloads, batch)


@torch.no_grad()
def compute_reference_loss(model: FrozenModel, payload: Payload | None, texts: Sequence[str]) -> float | None:
    """Return the loss per token of texts after a compiled payload, each truncated; None if the model is not causal."""
    if not isinstance(model, CausalModel):
        return None
    max_length = model.shape.window - (0 if payload is None else payload.num_positions)
    rows = [
        model.prompt_tokenizer.add_special_tokens(model.prompt_tokenizer.tokenize(text, split_special_tokens=True))[
            : min(REFERENCE_TEXT_TOKENS, max_length)
        ]
        for text in texts
    ]
    each = [EncodedExample(ids[:1], ResponseTarget.from_tokens(ids[1:])) for ids in rows if len(ids) > 1]
    return compute_metrics(GenerationTask().build_objective(model, max_length), payload, each)["loss"] if each else None


def make_greedy_sampling_params(max_tokens: int, objective: Objective) -> SamplingParams:
    """Return parameters for greedy responses of `max_tokens` tokens, or a quarter of a shorter context window."""
    return SamplingParams(max_new_tokens=max(1, min(max_tokens, objective.max_length // 4)))
