"""Texts to classify, and the forward pass that scores those of several tenants. Runs in the model's thread.

A text that exceeds one pass is scored in several: first its tokens in chunks, then its label paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from softprompt.model import FrozenModel, KVPrefix, Payload
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.tasks import EncodedExample
from softprompt.tasks.branch_batch import collate_branches
from softprompt.tasks.classification_task import ClassificationObjective
from softprompt.tasks.collation import gather_output_states
from softprompt.tasks.joint_batch import join_batches

# Cost of reading the keys and values of a position, in computed tokens; measured with `smollm2-135m`.
POSITION_COST = 1 / 40


@dataclass(eq=False)
class LabelRequest:
    """A text to classify.

    Attributes:
        loaded_prompt: prompt that classifies the text.
        example: encoded text.
        payload: payload of the prompt, extended by the keys and values of the text so far.
        scores: log-probabilities of the labels; None until they are known.
        error: error that ended the request, if any.
        is_cancelled: whether the request was cancelled.
    """

    loaded_prompt: LoadedPrompt
    example: EncodedExample
    payload: Payload = field(init=False)
    scores: list[float] | None = None
    error: Exception | None = None
    is_cancelled: bool = False
    _hidden_states: list[Tensor] = field(default_factory=list)
    _num_scored_paths: int = 0  # label paths whose hidden states are known

    def __post_init__(self) -> None:
        self.payload = self.loaded_prompt.payload

    @property
    def objective(self) -> ClassificationObjective:
        """Objective of the prompt's task."""
        objective = self.loaded_prompt.objective
        assert isinstance(objective, ClassificationObjective)  # checked by PromptRenderer
        return objective

    @property
    def is_finished(self) -> bool:
        """Whether the request is scored, failed or cancelled."""
        return self.is_cancelled or self.scores is not None or self.error is not None

    @property
    def num_remaining_tokens(self) -> int:
        """Maximum tokens that remain to be computed, virtual ones included unless they are compiled."""
        num_tokens = len(self.example) + self.objective.num_extra_tokens
        if isinstance(self.payload, KVPrefix):
            return num_tokens - self.payload.has_bos - self.payload.num_shared_tokens
        return num_tokens + self.payload.num_positions

    def estimate_cost(self, max_tokens: int) -> float:
        """Return the cost of the next pass with at most `max_tokens` tokens, in tokens."""
        num_positions = self.payload.num_positions if isinstance(self.payload, KVPrefix) else 0
        return min(self.num_remaining_tokens, max_tokens) + POSITION_COST * num_positions

    @torch.no_grad()
    def compute_next_part(self, model: FrozenModel, max_tokens: int) -> int:
        """Compute the next part, of about `max_tokens` tokens; return the number of computed tokens."""
        num_preceding_tokens = len(self.example.prompt_ids) - 1
        num_computed = self.payload.num_shared_tokens if isinstance(self.payload, KVPrefix) else 0
        has_bos = isinstance(self.payload, KVPrefix) and self.payload.has_bos
        num_remaining = num_preceding_tokens - num_computed - has_bos
        if isinstance(self.payload, KVPrefix) and num_remaining > 0:
            extended = model.extend_prefix(
                self.payload, self.example.prompt_ids[: num_preceding_tokens - max(0, num_remaining - max_tokens)]
            )
            assert extended is not None
            self.payload = extended
            return min(num_remaining, max_tokens)
        if len(self.objective.label_scorer.appended_paths) > 1 and model.supports_branches(self.payload):
            return self._compute_paths(model, max_tokens)
        num_tokens = self.num_remaining_tokens
        score_batch(model, [self])
        return num_tokens

    def _compute_paths(self, model: FrozenModel, max_tokens: int) -> int:
        """Compute the hidden states of the next label paths; return the number of computed tokens."""
        scorer = self.objective.label_scorer
        stop, count = self._num_scored_paths, 0
        while stop < len(scorer.appended_paths) and (
            count == 0 or count + len(scorer.appended_paths[stop]) <= max_tokens
        ):
            count += len(scorer.appended_paths[stop])
            stop += 1
        batch = collate_branches(model, [self.example], self.payload, scorer, range(self._num_scored_paths, stop))
        self._hidden_states.append(gather_output_states(model, batch, self.payload))
        self._num_scored_paths = stop
        if stop == len(scorer.appended_paths):
            order = torch.tensor(
                sorted(range(len(scorer.output_nodes)), key=lambda node: scorer.output_nodes[node][0])
            ).argsort()
            states = torch.cat(self._hidden_states)[order.to(model.device)]
            self.scores = scorer.compute_log_probs(model, states.unsqueeze(0))[0].tolist()
        return batch.input_ids.numel() + count  # tokens that are not in the payload are computed again for each part


@torch.no_grad()
def score_batch(model: FrozenModel, requests: Sequence[LabelRequest]) -> None:
    """Score the labels of texts in one forward pass, grouped by prompt."""
    groups: dict[int, list[LabelRequest]] = {}
    for request in requests:
        groups.setdefault(id(request.loaded_prompt), []).append(request)
    batches, sequence_payloads = [], list[Payload]()
    for group in groups.values():
        payloads = [request.payload for request in group]
        batch = group[0].objective.collate([request.example for request in group], payloads)
        batches.append(batch)
        sequence_payloads += [payload for payload in payloads for _ in range(batch.sequences_per_example)]
    has_one_payload = len({id(payload) for payload in sequence_payloads}) == 1
    states = gather_output_states(
        model, join_batches(batches), sequence_payloads[0] if has_one_payload else sequence_payloads
    )
    states_by_group = states.split([len(batch.output_indices) for batch in batches])
    for group, group_states, batch in zip(groups.values(), states_by_group, batches, strict=True):
        group_scores = group[0].objective.compute_outputs(group_states, batch).tolist()
        for request, scores in zip(group, group_scores, strict=True):
            request.scores = scores
