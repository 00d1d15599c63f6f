"""Base class of soft prompts: trainable parameters, and the payload that they represent."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from softprompt.model import FrozenModel, Payload
from softprompt.tasks import LinearHead

ENCODER_LR_MULTIPLIER = 0.2


class SoftPrompt(nn.Module, ABC):
    """A trainable soft prompt. Its `forward` runs once per step, not once per example.

    Attributes:
        head: a linear classification head that is trained with the prompt, or None for a verbalizer.
        head_lr_multiplier: learning rate of the head, as a multiple of the prompt's.
        task_names: names of the tasks of a multitask prompt; empty for a single task.
    """

    task_names: tuple[str, ...] = ()
    head_lr_multiplier: float = 1.0

    def __init__(self, head: LinearHead | None = None):
        super().__init__()
        self.head = head

    @abstractmethod
    def forward(self) -> Payload:
        """Return the payload of the current parameters, with gradient."""

    def payload_for(self, task_index: int) -> Payload:  # noqa: ARG002
        """Return the payload of one task of a multitask prompt. Other prompts have one payload for all tasks."""
        payload: Payload = self()
        return payload

    def compute_auxiliary_loss(self, model: FrozenModel) -> Tensor | None:  # noqa: ARG002
        """Return a loss of the prompt itself, to be added to that of the examples, or None. It runs once per step."""
        return None

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return the parameters in groups, each with its learning-rate multiplier.

        The learning rate is chosen for the scale of virtual tokens; the weights of encoders and heads differ in scale.
        """
        encoders = [p for name, p in self.named_parameters() if name.startswith("encoder.")]
        heads = [] if self.head is None else list(self.head.parameters())
        others = {id(p) for p in encoders + heads}
        tokens = [p for p in self.parameters() if id(p) not in others]
        return [
            group
            for group in ((tokens, 1.0), (encoders, ENCODER_LR_MULTIPLIER), (heads, self.head_lr_multiplier))
            if group[0]
        ]

    @property
    def num_parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(p.numel() for p in self.parameters())
