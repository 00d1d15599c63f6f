"""Distillation of responses: the student learns the teacher's probabilities at each token of its response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from softprompt.distillation.distillation_objective import DistillationObjective
from softprompt.model import BatchPayloads
from softprompt.tasks import Batch, EncodedExample
from softprompt.tasks.collation import SoftTargets
from softprompt.tasks.encoded_example import SoftResponseTarget, get_supervision
from softprompt.tasks.language_modeling_objective import MAX_LOGITS, LanguageModelingObjective

MIN_GAIN = 1e-4  # nats a token that a text must make its responses likelier; less is rounding
MIN_REMAINING_PROB = 1e-6  # of all tokens but the likeliest ones; rounding can make it zero or negative


@dataclass(frozen=True)
class ResponseNLL:
    """Negative log-likelihood of the responses of an evaluation, in nats a token.

    Attributes:
        without_context: of the model without any prompt.
        with_context: of the model behind the whole text.
    """

    without_context: float
    with_context: float

    def compute_recovery(self, nll: float) -> float | None:
        """Compute which share of the difference between the two a prompt recovers; more than 1 is possible.

        Returns:
            The share; None if the text does not make its responses likelier, so that there is nothing to recover.
        """
        gain = self.without_context - self.with_context
        return (self.without_context - nll) / gain if gain > MIN_GAIN else None


class ResponseDistillationObjective(DistillationObjective[LanguageModelingObjective]):
    """The divergence of the next token's probabilities from the teacher's, in nats a token.

    Of the teacher's probabilities, the likeliest tokens are known, and the sum of all others, which counts as one more
    token.

    Args:
        base: objective of the generation or chat.
        reference_nll: likelihoods that a recovery is measured by; None if there is no evaluation.
    """

    def __init__(self, base: LanguageModelingObjective, reference_nll: ResponseNLL | None = None):
        super().__init__(base)
        self._reference_nll = reference_nll

    def collate(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> Batch:
        """Collate examples with the teacher's probabilities at each supervised token."""
        targets = [get_supervision(example, SoftResponseTarget) for example in examples]
        soft_targets = SoftTargets(
            torch.cat([target.top_log_probs for target in targets]).to(self.model.device),
            torch.cat([target.top_token_ids for target in targets]).to(self.model.device),
        )
        return replace(self.base.collate(examples, payloads), soft_targets=soft_targets)

    def compute_losses(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Return the divergence summed over each example's supervised tokens."""
        return self._compute_token_sums(hidden_states, batch)[:, 0]

    def compute_outputs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B 4"]:
        """Return sums over each example's supervised tokens.

        They are the divergence, the negative log-likelihood, the number of tokens whose likeliest token is the
        teacher's, and the number of tokens.
        """
        sums = self._compute_token_sums(hidden_states, batch)
        return torch.cat([sums, batch.example_weights.unsqueeze(1)], dim=1)

    def _compute_token_sums(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B 3"]:
        """Compute token sums. Logits exist for a few tokens at a time; the backward pass recomputes them."""
        soft_targets = batch.soft_targets
        assert soft_targets is not None
        assert soft_targets.token_ids is not None
        chunk_size = max(1, MAX_LOGITS // self.model.shape.vocab_size)
        chunks = zip(
            *(
                tensor.split(chunk_size)
                for tensor in (hidden_states, batch.targets, soft_targets.token_ids, soft_targets.log_probs)
            ),
            strict=True,
        )
        values = torch.cat([checkpoint(self._compare_tokens, *chunk, use_reentrant=False) for chunk in chunks])
        example_indices = torch.repeat_interleave(batch.example_weights.long())
        return values.new_zeros(len(batch.example_weights), 3).index_add(0, example_indices, values)

    def _compare_tokens(
        self,
        hidden_states: Float[Tensor, "R H"],
        targets: Int[Tensor, "R"],
        top_token_ids: Int[Tensor, "R C"],
        top_log_probs: Float[Tensor, "R C"],
    ) -> Float[Tensor, "R 3"]:
        """Return the divergence, the negative log-likelihood and whether the likeliest token is the teacher's."""
        log_probs = self.model.compute_logits(hidden_states).log_softmax(dim=-1)
        student = _append_remaining_prob(log_probs.gather(1, top_token_ids))
        teacher = _append_remaining_prob(top_log_probs)
        kl = (teacher.exp() * (teacher - student)).sum(dim=1)
        nll = -log_probs.gather(1, targets.unsqueeze(1)).squeeze(1)
        agrees = (log_probs.argmax(dim=1) == top_token_ids[:, 0]).to(kl.dtype)
        return torch.stack([kl, nll, agrees], dim=1)

    def compute_metrics(self, outputs: Float[Tensor, "N 4"], examples: Sequence[EncodedExample]) -> dict[str, float]:  # noqa: ARG002
        """Compute the divergence a token, the share of tokens that are the teacher's, and the recovery."""
        kl, nll, agreement, num_tokens = outputs.double().sum(dim=0).tolist()
        metrics = {"kl": kl / num_tokens, "agreement": agreement / num_tokens, "loss": kl / num_tokens}
        recovery = None if self._reference_nll is None else self._reference_nll.compute_recovery(nll / num_tokens)
        return metrics if recovery is None else {"recovery": recovery, **metrics}

    def score_examples(self, outputs: Float[Tensor, "N 4"], examples: Sequence[EncodedExample]) -> list[float]:  # noqa: ARG002
        """Return the negated mean divergence of each example."""
        return (-outputs[:, 0].double() / outputs[:, 3].double()).tolist()

    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return the recovery on the examples, or else the negated divergence."""
        return (metrics.get("recovery", -metrics["kl"]),)


def _append_remaining_prob(log_probs: Float[Tensor, "R C"]) -> Float[Tensor, "R c"]:
    """Append the log-probability of all other tokens together."""
    remaining = (1 - log_probs.exp().sum(dim=1, keepdim=True)).clamp(min=MIN_REMAINING_PROB)
    return torch.cat([log_probs, remaining.log()], dim=1)
