"""A soft prompt as the training loop trains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.prompts import SoftPrompt
from softprompt.tasks import EncodedExample, Objective
from softprompt.training.gradient_accumulation import PromptBatch, accumulate_gradients
from softprompt.training.micro_batches import MicroBatchLimit
from softprompt.training.trainable import BatchLoss


class PromptTrainable:
    """Trainable soft prompt in front of a frozen model."""

    def __init__(self, prompt: SoftPrompt):
        self.prompt = prompt

    def accumulate_gradients(
        self, objective: Objective, examples: Sequence[EncodedExample], batch_size: int
    ) -> BatchLoss:
        """See `accumulate_gradients`."""
        return accumulate_gradients([PromptBatch(self.prompt, objective, examples, batch_size)], MicroBatchLimit())[0]

    @torch.no_grad()
    def compute_outputs(self, objective: Objective, examples: Sequence[EncodedExample]) -> Float[Tensor, "N C"]:
        """See `Trainable`."""
        payloads = {
            task: objective.model.compile_payload(self.prompt.payload_for(task))
            for task in {example.task_index for example in examples}
        }
        shared = payloads[examples[0].task_index] if len(payloads) == 1 else None
        return collect_outputs(objective, shared or [payloads[e.task_index] for e in examples], examples)

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """See `Trainable`."""
        return self.prompt.param_groups()

    def state_dict(self) -> Mapping[str, Tensor]:
        """See `Trainable`. An encoder's and a head's parameters are included."""
        return self.prompt.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Trainable`."""
        self.prompt.load_state_dict(state)
