"""The objective of a trained head on single tokens, shared by token classification and extractive QA."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from softprompt.errors import TaskError
from softprompt.model import BatchPayloads, EncoderDecoderModel, FrozenModel, Payload
from softprompt.tasks.collation import Batch, get_payload, pad_right
from softprompt.tasks.encoded_example import EncodedExample, get_alignment
from softprompt.tasks.label_scorers.linear_head import LinearHead
from softprompt.tasks.objective import Objective
from softprompt.tasks.templates.template import Template


class TokenHeadObjective(Objective):
    """The objective of a head that reads the tokens of one field of the template.

    Raises:
        TaskError: the model is an encoder-decoder, there is no head, or the template has a mask that the model lacks.
    """

    def __init__(self, model: FrozenModel, template: Template, max_length: int, head: LinearHead | None):
        super().__init__(model, max_length)
        if isinstance(model, EncoderDecoderModel):
            raise TaskError(
                f"{model.name} is an encoder-decoder, which token classification and extraction do not support: "
                "use a masked or a causal model"
            )
        if head is None:
            raise TaskError("token classification and extraction need a head trained with the prompt: pass `head`")
        template.check_mask_supported(model)
        self.template, self.head = template, head

    @abstractmethod
    def get_batch_targets(self, example: EncodedExample) -> Sequence[int]:
        """Return an example's targets for the batch."""

    @abstractmethod
    def get_example_weight(self, example: EncodedExample) -> int:
        """Return the weight of an example."""

    def collate(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> Batch:
        """Collate one sequence per example, with output positions at the tokens of its alignment."""
        arranged = [
            _apply_payload_with_positions(example, get_payload(payloads, i)) for i, example in enumerate(examples)
        ]
        input_ids, attention_mask = pad_right([input_ids for input_ids, _ in arranged], self.model.device)
        output_indices = [
            i * input_ids.shape[1] + position for i, (_, positions) in enumerate(arranged) for position in positions
        ]
        targets = [
            target for example in examples for target in self.get_batch_targets(example)
        ]  # empty for unlabeled examples
        return Batch(
            input_ids,
            attention_mask,
            output_indices=torch.tensor(output_indices, device=input_ids.device),
            targets=torch.tensor(targets, dtype=torch.long, device=input_ids.device),
            example_weights=torch.tensor(
                [float(self.get_example_weight(example)) for example in examples], device=input_ids.device
            ),
        )


def _apply_payload_with_positions(example: EncodedExample, payload: Payload | None) -> tuple[list[int], list[int]]:
    """Return an example's ids as arranged with its payload, and the positions of the aligned tokens in them.

    The positions are arranged like the ids, because virtual tokens shift both.
    """
    original_positions = list(range(len(example.prompt_ids)))
    arranged_positions = (
        [i for i in original_positions if example.prompt_ids[i] >= 0]
        if payload is None
        else payload.apply_to_prompt(original_positions)
    )
    new_position_of = {position: i for i, position in enumerate(arranged_positions)}
    ids = [example.prompt_ids[position] if position >= 0 else position for position in arranged_positions]
    return ids, [new_position_of[position] for position in get_alignment(example).token_positions if position >= 0]


def get_example_indices(batch: Batch) -> Tensor:
    """Return the index of the example that each output state belongs to, `[R]`."""
    return batch.output_indices // batch.input_ids.shape[1]


def pad_by_example(values: Float[Tensor, "R K"], batch: Batch, padding: float) -> Float[Tensor, "B W K"]:
    """Split output states by example, and pad those with fewer tokens on the right."""
    counts = get_example_indices(batch).bincount(minlength=len(batch.example_weights))
    return pad_sequence(values.split(counts.tolist()), batch_first=True, padding_value=padding)
