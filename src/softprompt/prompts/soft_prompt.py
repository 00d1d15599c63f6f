"""What every way of making a prompt has in common: parameters that train, and the payload they stand for."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from softprompt.model import FrozenModel, Payload
from softprompt.tasks import LinearHead


class SoftPrompt(nn.Module, ABC):
    """A prompt being made. Called once a step, never once a row.

    Attributes:
        head: a linear classification head trained with the prompt, or None where a verbalizer reads.
        head_rate: the head's learning rate, as a multiple of the prompt's.
        tasks: the names of the tasks that are learnt together; none where there is one.
    """

    tasks: tuple[str, ...] = ()
    head_rate: float = 1.0

    def __init__(self, head: LinearHead | None = None):
        super().__init__()
        self.head = head

    @abstractmethod
    def forward(self) -> Payload:
        """The payload that the parameters stand for now, with gradient."""

    def of(self, task: int) -> Payload:  # noqa: ARG002
        """The payload of one of the tasks that are learnt together. Most prompts learn one, and say the same of all."""
        payload: Payload = self()
        return payload

    def own_loss(self, model: FrozenModel) -> Tensor | None:  # noqa: ARG002
        """A loss of the prompt's own, beside the rows', with gradient; None where it has none. Asked once a step."""
        return None

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters in groups, each with its multiple of the learning rate.

        The rate suits the scale of virtual tokens; the weights of an encoder and of a head are of other scales.
        """
        encoders = [p for name, p in self.named_parameters() if name.startswith("encoder.")]
        heads = [] if self.head is None else list(self.head.parameters())
        others = {id(p) for p in encoders + heads}
        tokens = [p for p in self.parameters() if id(p) not in others]
        return [group for group in ((tokens, 1.0), (encoders, ENCODER_RATE), (heads, self.head_rate)) if group[0]]

    @property
    def num_parameters(self) -> int:
        """How many numbers train."""
        return sum(p.numel() for p in self.parameters())


ENCODER_RATE = 0.2
