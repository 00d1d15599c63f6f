"""The gradient of a prompt: what stands in front of every row is run once a step, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from softprompt.model import FrozenModel, Payload, Payloads
from softprompt.prompts import SoftPrompt
from softprompt.tasks import Objective, Row


class PromptLearner:
    """A soft prompt as what learns; the model that it stands in front of is left as it is."""

    def __init__(self, prompt: SoftPrompt):
        self.prompt = prompt

    def accumulate(self, objective: Objective, rows: Sequence[Row], batch_size: int) -> tuple[float, int]:
        """See `accumulate_gradients`."""
        return accumulate_gradients(objective, self.prompt, rows, batch_size)

    def payloads(self, model: FrozenModel, rows: Sequence[Row]) -> Payloads:
        """What each row stands behind, compiled."""
        return _behind(rows, _compiled(model, self.prompt, rows))

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """The prompt's."""
        return self.prompt.rates()

    def state_dict(self) -> Mapping[str, Tensor]:
        """The prompt's parameters, an encoder's and a head's too."""
        return self.prompt.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        self.prompt.load_state_dict(state)


def accumulate_gradients(
    objective: Objective, prompt: SoftPrompt, rows: Sequence[Row], batch_size: int
) -> tuple[float, int]:
    """Add the gradient of the rows' mean loss to the prompt's parameters; returns that loss and the useful tokens.

    What stands in front of every row is run once, not once a row or a pass: the passes sum their gradients at the
    compiled payload, and one backward pass takes the sum on to the parameters. A loss of the prompt's own adds to the
    gradient alone, so that the losses of all methods compare.
    """
    payloads = _compiled(objective.model, prompt, rows)
    leaves = {task: payload.with_tensor(payload.tensor.detach().requires_grad_()) for task, payload in payloads.items()}
    total, tokens = add_gradients(objective, rows, batch_size, lambda part: _behind(part, leaves))
    compiled = [payload.tensor for payload in payloads.values()]
    torch.autograd.backward(compiled, [leaf.tensor.grad for leaf in leaves.values()])
    if (own := prompt.own_loss(objective.model)) is not None:
        own.backward()
    return total, tokens


def add_gradients(
    objective: Objective, rows: Sequence[Row], batch_size: int, behind: Callable[[Sequence[Row]], Payloads]
) -> tuple[float, int]:
    """Add the gradient of the rows' mean loss, pass by pass; returns that loss and the useful tokens.

    `behind` says what the rows of a pass stand behind.
    """
    parts = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    batches = [objective.collate(part, behind(part)) for part in parts]
    weight = sum(float(batch.weights.sum()) for batch in batches)
    total = 0.0
    for part, batch in zip(parts, batches, strict=True):
        loss = objective.losses(objective.read(batch, behind(part)), batch).sum() / weight
        loss.backward()
        total += loss.item()
    return total, sum(batch.useful_tokens for batch in batches)


def _compiled(model: FrozenModel, prompt: SoftPrompt, rows: Sequence[Row]) -> dict[int, Payload]:
    """The payload of each task that the rows are of."""
    return {task: model.compile(prompt.of(task)) for task in sorted({row.task for row in rows})}


def _behind(rows: Sequence[Row], payloads: Mapping[int, Payload]) -> Payloads:
    """The payload of each row's task; one for all of them where there is one task."""
    if len(payloads) == 1:
        return next(iter(payloads.values()))
    return [payloads[row.task] for row in rows]
