"""Collation: encoded examples become a batch of padded sequences, each arranged around its payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.model import BatchPayloads, FrozenModel, Payload
from softprompt.model.branches import SequenceBranches
from softprompt.tasks.encoded_example import EncodedExample


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's probabilities for a batch: of its labels, or of the likeliest tokens at its supervised positions.

    Attributes:
        log_probs: log-probabilities `[R, C]` of C tokens at each of R positions, or `[B, K]` of all labels.
        token_ids: ids of the tokens, `[R, C]`; None for labels.
    """

    log_probs: Float[Tensor, "R C"]
    token_ids: Int[Tensor, "R C"] | None = None


@dataclass(frozen=True)
class Batch:
    """A batch of B examples as N sequences of T tokens, padded on the right, with the positions whose states are read.

    Attributes:
        input_ids: token ids, `[N, T]`; negative ids are placeholders of virtual tokens.
        attention_mask: false at padding, `[N, T]`.
        output_indices: indices `[R]` of the hidden states that are read, in the flattened `[N * T]`, and from N * T on
            in the flattened `[M * l]` of the branches.
        targets: token ids or tags `[R]`, labels `[B]`, or span ends `[2·B]`, as defined by the objective.
        example_weights: weight of each example, `[B]`: 1, or the number of its supervised tokens.
        sequences_per_example: N / B.
        branches: continuations of the sequences that share one computation of each sequence; None without branches.
        soft_targets: a teacher's probabilities, if the examples have them.
    """

    input_ids: Int[Tensor, "N T"]
    attention_mask: Bool[Tensor, "N T"]
    output_indices: Int[Tensor, "R"]
    targets: Int[Tensor, "_"]
    example_weights: Float[Tensor, "B"]
    sequences_per_example: int = 1
    branches: SequenceBranches | None = None
    soft_targets: SoftTargets | None = None

    @property
    def output_mask(self) -> Bool[Tensor, "N T"]:
        """The tokens whose hidden states are read."""
        flat = torch.zeros(self.input_ids.numel(), dtype=torch.bool, device=self.input_ids.device)
        return flat.index_fill(0, self.output_indices[self.output_indices < len(flat)], True).view_as(self.input_ids)

    @property
    def useful_tokens(self) -> int:
        """The number of tokens that are neither padding nor virtual tokens."""
        num_branch_tokens = 0 if self.branches is None else int(self.branches.attention_mask.sum())
        return int((self.attention_mask & (self.input_ids >= 0)).sum()) + num_branch_tokens


def apply_payload(example: EncodedExample, payload: Payload | None) -> tuple[list[int], list[int]]:
    """Return an example's ids before the answer and after the answer, as arranged with its payload.

    Without a payload there are no virtual tokens, so the placeholders of template markers are dropped.
    """
    if payload is None:
        return [i for i in example.prompt_ids if i >= 0], [i for i in example.suffix_ids if i >= 0]
    return payload.apply_to_prompt(example.prompt_ids), example.suffix_ids


def get_payload(payloads: BatchPayloads, index: int) -> Payload | None:
    """Return the payload of the example at `index`."""
    return payloads[index] if isinstance(payloads, Sequence) else payloads


def pad_right(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad sequences on the right with id 0. Return the ids `[N, T]` and the attention mask `[N, T]`."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences], device=device)
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
    return ids, torch.arange(longest, device=device) < lengths.unsqueeze(1)


def find_common_prefix(examples: Sequence[EncodedExample]) -> list[int]:
    """Return the ids that all prompts begin with, up to the first virtual token and the first position that is read."""
    shared = list(takewhile(lambda token: token >= 0, examples[0].prompt_ids))
    for example in examples:
        pairs = zip(shared, example.prompt_ids[: example.first_output_position], strict=False)
        shared = [first for first, _ in takewhile(lambda ids: ids[0] == ids[1], pairs)]
        if not shared:
            break
    return shared


def gather_output_states(model: FrozenModel, batch: Batch, payloads: BatchPayloads) -> Float[Tensor, "R H"]:
    """Run the model over the sequences of a batch and gather the hidden states at `output_indices`."""
    if batch.branches is None:
        hidden_states = model.compute_hidden_states(batch.input_ids, batch.attention_mask, payloads, batch.output_mask)
        return hidden_states.flatten(0, 1)[batch.output_indices]
    sequence_and_branch_states = model.compute_branched_hidden_states(
        batch.input_ids, batch.attention_mask, payloads, batch.output_mask, batch.branches
    )
    return torch.cat([states.flatten(0, 1) for states in sequence_and_branch_states])[batch.output_indices]
