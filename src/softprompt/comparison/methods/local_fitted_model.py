"""A fitted model that runs locally: its evaluation, serving benchmark and reference loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from softprompt.comparison.methods.fitted_model import (
    GENERATION_MAX_TOKENS,
    GENERATION_SAMPLES,
    EvalResult,
    FittedModel,
    ServingResult,
    TrainingRecord,
)
from softprompt.comparison.methods.greedy_sampling import make_greedy_sampling_params
from softprompt.comparison.methods.reference_loss import compute_reference_loss
from softprompt.comparison.methods.serving_benchmark import ServingBenchmark
from softprompt.data import Example
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.evaluation.evaluate import generate_responses
from softprompt.model import Payload
from softprompt.tasks import Objective
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.language_modeling_objective import LanguageModelingObjective
from softprompt.tasks.metrics.label_metrics import confusion_matrix
from softprompt.tasks.metrics.text_metrics import corpus_bleu_score


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
    num_request_tokens: int | None = 0
    training_record: TrainingRecord | None = None

    @torch.no_grad()
    def evaluate(self, examples: Sequence[Example]) -> EvalResult:
        """Compute the metrics and scores; for a generation task also the BLEU of the first responses."""
        encoded = [self.objective.encode_example(example) for example in examples]
        outputs = collect_outputs(self.objective, self.payload, encoded)
        metrics = self.objective.compute_metrics(outputs, encoded)
        scores = self.objective.score_examples(outputs, encoded)
        if isinstance(self.objective, LanguageModelingObjective):
            metrics["bleu"] = self._compute_bleu(self.objective, examples[:GENERATION_SAMPLES])
        if not isinstance(self.objective, ClassificationObjective):
            return EvalResult(metrics, scores)
        right = torch.tensor([example.label_index for example in encoded])
        matrix = confusion_matrix(outputs.argmax(dim=1), right, len(self.objective.task.labels))
        return EvalResult(metrics, scores, matrix.tolist())

    def _compute_bleu(self, objective: LanguageModelingObjective, examples: Sequence[Example]) -> float:
        sampling_params = make_greedy_sampling_params(GENERATION_MAX_TOKENS, objective)
        texts = generate_responses(objective, self.payload, examples, sampling_params)
        return corpus_bleu_score(texts, [objective.get_references(example) for example in examples])

    @torch.no_grad()
    def compute_reference_loss(self, texts: Sequence[str]) -> float | None:
        """Return the loss per token of texts, each truncated; causal models only."""
        return compute_reference_loss(self.objective.model, self.payload, texts)

    @torch.no_grad()
    def benchmark_serving(self, examples: Sequence[Example], num_tasks: int) -> ServingResult:
        """See `ServingBenchmark.run`."""
        return ServingBenchmark(self.objective, self.payload, self.supports_mixed_batches).run(examples, num_tasks)
