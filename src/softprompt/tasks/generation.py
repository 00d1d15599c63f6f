"""Write a response: the template, then the answer and the end of the text. The loss is on the response alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RowError, SettingError, TaskError
from softprompt.model import FrozenModel, Payloads
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Batch, Objective, Row, arranged, padded, payload_of
from softprompt.tasks.template import Template, continuation, joined


class GenerationTask(BaseModel):
    """Instruction in, response out.

    Attributes:
        template: what the model sees before it writes.
        response_field: the field with the response to learn.
        references_field: the field with one or several right responses, to be measured against.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["generation"] = "generation"
    template: str = "{input}\n"
    response_field: str = "output"
    references_field: str = "references"

    def start_text(self, model: FrozenModel, examples: Sequence[Example], room: int) -> str:  # noqa: ARG002
        """What the virtual tokens say before they are trained: the task in words."""
        return "Read the input carefully and write the right response to it, complete, correct and in good style.\n\n"

    @property
    def labels(self) -> tuple[str, ...]:
        """None: a response is written, not chosen."""
        return ()

    def prepared(self, examples: Sequence[Example]) -> GenerationTask:
        """The task as it is; every example must have a response.

        Raises:
            RowError: one has none.
        """
        for example in examples:
            self.references(example)
        return self

    def references(self, example: Example) -> list[str]:
        """The right responses to an example: its response, or else its references.

        Raises:
            RowError: it has neither.
        """
        if self.response_field in example.fields:
            return [example.text(self.response_field)]
        if self.references_field in example.fields:
            return example.texts(self.references_field)
        raise RowError(
            example.where,
            f"no field {self.response_field!r} or {self.references_field!r}: it has {', '.join(example.fields)}",
        )

    def bind(self, model: FrozenModel, room: int, head: LinearHead | None = None) -> GenerationObjective:
        """The task on a model that leaves `room` positions for a row.

        Raises:
            TaskError: there is a head, which can only choose among labels.
        """
        if head is not None:
            raise TaskError("a linear head chooses among labels: it cannot write a response (--head verbalizer)")
        return GenerationObjective(model, self, room)


class GenerationObjective(Objective):
    """Next-token loss over the response and the end-of-text token behind it."""

    def __init__(self, model: FrozenModel, task: GenerationTask, room: int):
        super().__init__(model)
        self.task, self.room = task, room
        self.template = Template(task.template)

    def encode(self, example: Example) -> Row:
        """Template and response; the template's fields are cut where both do not fit, the response never."""
        response = [*self._response(self.task.references(example)[0]), self.model.eos]
        if len(response) >= self.room:
            raise RowError(example.where, f"the response needs {len(response)} tokens where {self.room} fit in all")
        prompt, cut = self.template.encode(self.model, example, self.room - len(response))
        return Row(prompt, response, cut=cut)

    def encode_prompt(self, example: Example, max_new_tokens: int) -> Row:
        """The template alone, with room for that many tokens of response.

        Raises:
            SettingError: so many leave no room for the template, or are none.
        """
        if not 0 < max_new_tokens < self.room:
            raise SettingError(f"--max-new-tokens {max_new_tokens}: choose 1 to {self.room - 1}")
        prompt, cut = self.template.encode(self.model, example, self.room - max_new_tokens)
        return Row(prompt, [], cut=cut)

    def _response(self, text: str) -> list[int]:
        return continuation(self.model, self.template.tail, joined(self.template, text))

    def collate(self, rows: Sequence[Row], payloads: Payloads) -> Batch:
        """One sequence a row; read wherever the next token belongs to the response."""
        prompts = [arranged(row, payload_of(payloads, i)) for i, row in enumerate(rows)]
        ids, mask = padded(
            [[*prompt, *row.response] for prompt, row in zip(prompts, rows, strict=True)], self.model.device
        )
        starts = [len(prompt) - 1 for prompt in prompts]
        reads = [
            i * ids.shape[1] + start + offset
            for i, (row, start) in enumerate(zip(rows, starts, strict=True))
            for offset in range(len(row.response))
        ]
        return Batch(
            ids,
            mask,
            reads=torch.tensor(reads, device=ids.device),
            targets=torch.tensor([token for row in rows for token in row.response], device=ids.device),
            weights=torch.tensor([float(len(row.response)) for row in rows], device=ids.device),
        )

    def losses(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Summed over each row's response tokens; logits exist only where there is supervision."""
        token_losses = torch.nn.functional.cross_entropy(self.model.logits(hidden), batch.targets, reduction="none")
        owners = torch.repeat_interleave(batch.weights.long())
        return torch.zeros_like(batch.weights).index_add(0, owners, token_losses)

    def outputs(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B 2"]:
        """Each row's summed loss and its number of response tokens."""
        return torch.stack([self.losses(hidden, batch), batch.weights], dim=1)

    def metrics(self, outputs: Float[Tensor, "N 2"], rows: Sequence[Row]) -> dict[str, float]:  # noqa: ARG002
        """Perplexity of the responses and the mean loss of their tokens."""
        loss = float(outputs[:, 0].double().sum() / outputs[:, 1].double().sum())
        return {"perplexity": math.exp(min(loss, 700.0)), "loss": loss}

    def quality(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The lower loss."""
        return (-metrics["loss"],)
