"""Times the requests of one or several tasks on a fitted model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from softprompt.comparison.methods.fitted_model import ServingResult
from softprompt.comparison.methods.greedy_sampling import make_greedy_sampling_params
from softprompt.data import Example
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.evaluation.text_generation import generate_texts
from softprompt.model import BatchPayloads, Payload
from softprompt.sampling import SamplingParams
from softprompt.tasks import EncodedExample, Objective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective

SERVING_BATCH_SIZE, LATENCY_SAMPLES = 32, 5
SERVING_MAX_TOKENS = 16


@dataclass(frozen=True)
class ServingBenchmark:
    """A benchmark of a fitted model.

    If tasks cannot share a forward pass, their requests run one by one. The cost of switching weights between them is
    left out, so the result favors such methods.

    Attributes:
        objective: task on the adapted model.
        payload: compiled prompt; None without one.
        supports_mixed_batches: whether requests of several tasks share a forward pass.
    """

    objective: Objective
    payload: Payload | None
    supports_mixed_batches: bool

    def run(self, examples: Sequence[Example], num_tasks: int) -> ServingResult:
        """Time a single request and a batch of one task, or one request of each of several tasks."""
        requests = self._encode_requests(examples)
        return self._time_one_task(requests) if num_tasks == 1 else self._time_tasks(requests, num_tasks)

    def _time_one_task(self, requests: list[EncodedExample]) -> ServingResult:
        self._run_batch(requests, self.payload)  # warm-up
        latency = fmean(self._time_batch([request], self.payload) for request in requests[:LATENCY_SAMPLES])
        return self._make_result(latency, requests, self._time_batch(requests, self.payload))

    def _time_tasks(self, requests: list[EncodedExample], num_tasks: int) -> ServingResult:
        """Time the batches of several tasks one after the other. All requests arrive before the first batch."""
        requests = [requests[index % len(requests)] for index in range(num_tasks)]
        size = SERVING_BATCH_SIZE if self.supports_mixed_batches else 1
        batches = [requests[start : start + size] for start in range(0, num_tasks, size)]
        self._run_batch(batches[0], self._get_batch_payloads(batches[0]))  # warm-up
        elapsed, total_latency = 0.0, 0.0
        for batch in batches:
            elapsed += self._time_batch(batch, self._get_batch_payloads(batch))
            total_latency += elapsed * len(batch)
        return self._make_result(total_latency / num_tasks, requests, elapsed)

    def _make_result(self, latency: float, requests: Sequence[EncodedExample], seconds: float) -> ServingResult:
        num_generated = self._sampling_params.max_new_tokens if self._is_generative else 0
        num_tokens = sum(len(request) + num_generated for request in requests)
        return ServingResult(latency, len(requests) / seconds, num_tokens / seconds)

    def _get_batch_payloads(self, batch: Sequence[EncodedExample]) -> BatchPayloads:
        """Return a payload for each request, as if each belonged to another task."""
        return self.payload if len(batch) == 1 else [self.payload] * len(batch)

    @property
    def _is_generative(self) -> bool:
        return isinstance(self.objective, LanguageModelingObjective)

    @property
    def _sampling_params(self) -> SamplingParams:
        return make_greedy_sampling_params(SERVING_MAX_TOKENS, self.objective)

    def _encode_requests(self, examples: Sequence[Example]) -> list[EncodedExample]:
        selected = examples[:SERVING_BATCH_SIZE]
        if isinstance(self.objective, LanguageModelingObjective):
            max_new_tokens = self._sampling_params.max_new_tokens
            return [self.objective.encode_without_answer(example, max_new_tokens) for example in selected]
        return [self.objective.encode_example(example) for example in selected]

    def _time_batch(self, batch: list[EncodedExample], payloads: BatchPayloads) -> float:
        started_at = time.perf_counter()
        self._run_batch(batch, payloads)
        return time.perf_counter() - started_at

    def _run_batch(self, batch: list[EncodedExample], payloads: BatchPayloads) -> None:
        if isinstance(self.objective, LanguageModelingObjective):
            by_request = list(payloads) if isinstance(payloads, Sequence) else [payloads] * len(batch)
            generate_texts(self.objective.model, batch, by_request, self._sampling_params)
        else:
            collect_outputs(self.objective, payloads, batch)
