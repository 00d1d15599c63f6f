"""The gradient of prompts: what stands in front of every row is run once a step, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.evaluation.measuring import row_outputs
from softprompt.model import Payload
from softprompt.prompts import SoftPrompt
from softprompt.tasks import Objective, Row
from softprompt.tasks.passes import cut
from softprompt.training.learner import Learnt
from softprompt.training.passes import Chunk, Limit, passed

#: Of so many positions in front of rows the way through the model is held for the backward pass at once.
HELD = 4096


class PromptLearner:
    """A soft prompt as what learns; the model that it stands in front of is left as it is."""

    def __init__(self, prompt: SoftPrompt):
        self.prompt = prompt

    def accumulate(self, objective: Objective, rows: Sequence[Row], batch_size: int) -> Learnt:
        """See `accumulate_gradients`."""
        return accumulate_gradients([Part(self.prompt, objective, rows, batch_size)], Limit())[0]

    @torch.no_grad()
    def outputs(self, objective: Objective, rows: Sequence[Row]) -> Float[Tensor, "N C"]:
        """See `Learner`."""
        payloads = {task: objective.model.compile(self.prompt.of(task)) for task in {row.task for row in rows}}
        one = payloads[rows[0].task] if len(payloads) == 1 else None
        return row_outputs(objective, one or [payloads[row.task] for row in rows], rows)

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """The prompt's."""
        return self.prompt.rates()

    def state_dict(self) -> Mapping[str, Tensor]:
        """The prompt's parameters, an encoder's and a head's too."""
        return self.prompt.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        self.prompt.load_state_dict(state)


@dataclass(frozen=True)
class Part:
    """What one prompt learns in a step.

    Attributes:
        prompt: it.
        objective: its task.
        rows: of the step.
        batch_size: how many of them may be in a pass at most.
    """

    prompt: SoftPrompt
    objective: Objective
    rows: Sequence[Row]
    batch_size: int


def accumulate_gradients(parts: Sequence[Part], limit: Limit) -> list[Learnt]:
    """Add the gradient of each part's mean loss to its prompt's parameters.

    What stands in front of a part's rows is run once, not once a row or a pass, and so is what all of them begin with:
    the passes sum their gradients at the compiled payload, and one backward pass takes the sum on to the parameters. A
    loss of the prompt's own adds to the gradient alone, so that the losses of all methods compare.
    """
    found: list[Learnt] = []
    group: list[tuple[Part, dict[int, Payload]]] = []
    for part in parts:
        group.append((part, _compiled(part)))
        if part is parts[-1] or sum(p.num_positions for _, of in group for p in of.values()) >= HELD:
            found += _accumulate(group, limit)
            group = []
    return found


def _accumulate(group: Sequence[tuple[Part, dict[int, Payload]]], limit: Limit) -> list[Learnt]:
    """Run the rows of parts behind what was compiled for them."""
    found: list[Learnt] = []
    leaves = [{task: _leaf(payload) for task, payload in payloads.items()} for _, payloads in group]
    chunks = [_chunks(part, own) for (part, _), own in zip(group, leaves, strict=True)]
    losses = {id(chunk): loss for chunk, loss in passed([chunk for own in chunks for chunk in own], limit)}
    for (part, payloads), own, of_part in zip(group, leaves, chunks, strict=True):
        tensors = [payload.tensor for payload in payloads.values()]
        torch.autograd.backward(tensors, [leaf.tensor.grad for leaf in own.values()])
        if (own_loss := part.prompt.own_loss(part.objective.model)) is not None:
            own_loss.backward()
        loss, tokens = sum(losses[id(c)] for c in of_part), sum(c.batch.useful_tokens for c in of_part)
        found.append(Learnt(loss, tokens, of_part[0].weight, 0.0 if own_loss is None else float(own_loss.detach())))
    return found


def _chunks(part: Part, leaves: Mapping[int, Payload]) -> list[Chunk]:
    extra = part.objective.extra_length
    together = cut([len(row) + extra for row in part.rows], part.objective.model, part.batch_size)
    pieces = [[part.rows[i] for i in some] for some in together]
    behind = [[leaves[row.task] for row in piece] for piece in pieces]
    batches = [part.objective.collate(piece, each) for piece, each in zip(pieces, behind, strict=True)]
    weight = sum(float(batch.weights.sum()) for batch in batches)
    beside = [] if part.prompt.head is None else list(part.prompt.head.parameters())
    sequences = [
        [payload for payload in each for _ in range(batch.sequences_per_row)]
        for batch, each in zip(batches, behind, strict=True)
    ]
    return [Chunk(part.objective, *each, beside, weight) for each in zip(batches, sequences, strict=True)]


def _leaf(payload: Payload) -> Payload:
    """The payload cut off from its graph, gathering gradient of its own."""
    return payload.with_tensor(payload.tensor.detach().requires_grad_())


def _compiled(part: Part) -> dict[int, Payload]:
    """The payload of each task that the rows are of, with what all its rows begin with."""
    found: dict[int, Payload] = {}
    for task in sorted({row.task for row in part.rows}):
        payload = part.objective.model.compile(part.prompt.of(task))
        found[task] = part.objective.behind(payload, [row for row in part.rows if row.task == task]) or payload
    return found
