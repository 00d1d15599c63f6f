"""Read tokens inside a row with a trained head: what tagging and extraction share. Knows neither tags nor answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from softprompt.errors import TaskError
from softprompt.model import EncoderDecoderModel, FrozenModel, Payload, Payloads
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Batch, Objective, Row, padded, payload_of
from softprompt.tasks.template import Template


class ReadingObjective(Objective):
    """A template, of whose one field the tokens are read where they stand, by a trained head.

    Raises:
        TaskError: the model is an encoder-decoder, there is no head, or the template has a blank that nobody fills.
    """

    def __init__(self, model: FrozenModel, template: Template, room: int, head: LinearHead | None):
        super().__init__(model)
        if isinstance(model, EncoderDecoderModel):
            raise TaskError(
                f"{model.name} is an encoder-decoder, and tokens inside a text are read off models that are one stack: "
                "use a masked or a causal model"
            )
        if head is None:
            raise TaskError("tokens inside a text are read by a head that is trained with the prompt: there is none")
        template.check_blank(model)
        self.template, self.room, self.head = template, room, head

    @abstractmethod
    def targets_of(self, row: Row) -> Sequence[int]:
        """What a batch keeps of a row's targets."""

    @abstractmethod
    def weight_of(self, row: Row) -> int:
        """How much a row counts."""

    def collate(self, rows: Sequence[Row], payloads: Payloads) -> Batch:
        """One sequence a row; read at the tokens of its passage."""
        each = [_arranged(row, payload_of(payloads, i)) for i, row in enumerate(rows)]
        ids, mask = padded([ids for ids, _ in each], self.model.device)
        reads = [i * ids.shape[1] + place for i, (_, places) in enumerate(each) for place in places]
        targets = [target for row in rows for target in self.targets_of(row)]  # none where nothing is known
        return Batch(
            ids,
            mask,
            reads=torch.tensor(reads, device=ids.device),
            targets=torch.tensor(targets, dtype=torch.long, device=ids.device),
            weights=torch.tensor([float(self.weight_of(row)) for row in rows], device=ids.device),
        )


def _arranged(row: Row, payload: Payload | None) -> tuple[list[int], list[int]]:
    """A row's ids as they stand with its payload, and where the tokens that are read stand in them.

    The places are arranged as the ids are: virtual tokens move both.
    """
    assert row.passage is not None
    before = list(range(len(row.prompt)))
    after = [i for i in before if row.prompt[i] >= 0] if payload is None else payload.arrange(before)
    at = {place: i for i, place in enumerate(after)}
    ids = [row.prompt[place] if place >= 0 else place for place in after]
    return ids, [at[place] for place in row.passage.places if place >= 0]


def owners(batch: Batch) -> Tensor:
    """Whose each state is that was read, `[R]`: the row's number."""
    return batch.reads // batch.ids.shape[1]


def by_row(values: Float[Tensor, "R K"], batch: Batch, padding: float) -> Float[Tensor, "B W K"]:
    """What was read, a row each, those with fewer tokens padded behind."""
    counts = owners(batch).bincount(minlength=len(batch.weights))
    return pad_sequence(values.split(counts.tolist()), batch_first=True, padding_value=padding)
