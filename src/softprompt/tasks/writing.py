"""Learn to write: next-token loss over a row's response, wherever it is supervised. Knows no template and no chat."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from softprompt.data import Example
from softprompt.errors import SettingError, TaskError
from softprompt.model import FrozenModel, Payloads, WritingModel
from softprompt.tasks.objective import Batch, Objective, Row, arranged, padded, payload_of

#: How many logits exist at once; in the backward pass they are computed again. A vocabulary may have 250,000 words,
#: and a batch's supervised tokens times these would outgrow everything else.
LOGITS = 2**24


class WritingObjective(Objective):
    """What generation and chat have in common: where the model is read, the loss, and the figures of merit.

    Raises:
        TaskError: the model is of a kind that does not write.
        IncompleteModel: it has no word head.
    """

    model: WritingModel

    def __init__(self, model: FrozenModel, room: int):
        if not isinstance(model, WritingModel):
            raise TaskError(f"{model.name} fills blanks and does not write: use a model that does, or give it labels")
        model.check_word_head()
        super().__init__(model)
        self.room = room

    @abstractmethod
    def encode_prompt(self, example: Example, max_new_tokens: int) -> Row:
        """What the model sees before it writes, with room for that many tokens; `room_for_prompt` checks them."""

    @abstractmethod
    def encode_unanswered(self, example: Example, max_new_tokens: int) -> Row:
        """What the model sees of an example before it writes the answer that `references` names, with that room."""

    @abstractmethod
    def references(self, example: Example) -> list[str]:
        """The right responses to an example; raises RowError where it has none."""

    @abstractmethod
    def asked(self, text: str) -> Example:
        """A text by itself as an example without a response."""

    @property
    def end(self) -> int:
        """The token that a response is taught to end with.

        Raises:
            TaskError: the model has none.
        """
        if self.model.eos is None:
            raise TaskError(
                f"{self.model.name} has no end-of-text token, so no response could be taught to end: give its "
                "tokenizer an `eos_token`, or its generation configuration an `eos_token_id`"
            )
        return self.model.eos

    def room_for_prompt(self, max_new_tokens: int) -> int:
        """The tokens that are left in front of a response of at most `max_new_tokens`.

        Raises:
            SettingError: so many leave no room, or are none.
        """
        left = self.model.room_beside(max_new_tokens, self.room)
        if max_new_tokens < 1 or left < 1:
            most = sum(self.model.room_beside(count, self.room) > 0 for count in range(1, self.room))
            raise SettingError(f"`max_new_tokens={max_new_tokens}`: choose 1 to {most}")
        return left

    def collate(self, rows: Sequence[Row], payloads: Payloads) -> Batch:
        """One sequence a row; read wherever the next token is supervised."""
        prompts = [arranged(row, payload_of(payloads, i))[0] for i, row in enumerate(rows)]
        ids, mask = padded(
            [[*prompt, *row.response] for prompt, row in zip(prompts, rows, strict=True)], self.model.device
        )
        starts = [len(prompt) - 1 for prompt in prompts]
        reads = [
            i * ids.shape[1] + start + offset
            for i, (row, start) in enumerate(zip(rows, starts, strict=True))
            for offset in row.supervised
        ]
        return Batch(
            ids,
            mask,
            reads=torch.tensor(reads, device=ids.device),
            targets=torch.tensor(
                [row.response[offset] for row in rows for offset in row.supervised], device=ids.device
            ),
            weights=torch.tensor([float(len(row.supervised)) for row in rows], device=ids.device),
        )

    def losses(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Summed over each row's supervised tokens; logits exist only there, and those of a few tokens at a time."""
        few = max(1, LOGITS // self.model.shape.vocab_size)
        parts = zip(hidden.split(few), batch.targets.split(few), strict=True)
        token_losses = torch.cat([checkpoint(self._token_losses, *part, use_reentrant=False) for part in parts])
        owners = torch.repeat_interleave(batch.weights.long())
        return torch.zeros_like(batch.weights).index_add(0, owners, token_losses)

    def _token_losses(self, hidden: Float[Tensor, "R H"], targets: Int[Tensor, "R"]) -> Float[Tensor, "R"]:
        return torch.nn.functional.cross_entropy(self.model.logits(hidden), targets, reduction="none")

    def outputs(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B 2"]:
        """Each row's summed loss and its number of supervised tokens."""
        return torch.stack([self.losses(hidden, batch), batch.weights], dim=1)

    def metrics(self, outputs: Float[Tensor, "N 2"], rows: Sequence[Row]) -> dict[str, float]:  # noqa: ARG002
        """Perplexity of the responses and the mean loss of their tokens."""
        loss = float(outputs[:, 0].double().sum() / outputs[:, 1].double().sum())
        return {"perplexity": math.exp(min(loss, 700.0)), "loss": loss}

    def scores(self, outputs: Float[Tensor, "N 2"], rows: Sequence[Row]) -> list[float]:  # noqa: ARG002
        """Of each row the mean log-probability of its supervised tokens."""
        return (-outputs[:, 0].double() / outputs[:, 1].double()).tolist()

    def quality(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The lower loss."""
        return (-metrics["loss"],)
