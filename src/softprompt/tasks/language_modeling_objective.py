"""The language modeling objective: next-token loss on supervised response tokens. Knows no template and no chat."""

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
from softprompt.model import BatchPayloads, FrozenModel, GenerativeModel
from softprompt.tasks.collation import Batch, apply_payload, get_payload, pad_right
from softprompt.tasks.encoded_example import EncodedExample, ResponseTarget, get_supervision
from softprompt.tasks.objective import Objective

#: Largest number of logits in memory at once; the backward pass recomputes them. With a vocabulary of 250,000 tokens,
#: the logits of all supervised tokens of a batch would need more memory than everything else.
MAX_LOGITS = 2**24


class LanguageModelingObjective(Objective):
    """The objective that generation and chat share: output positions, loss and metrics.

    Raises:
        TaskError: the model cannot generate text.
        IncompleteModel: the model has no LM head.
    """

    model: GenerativeModel

    def __init__(self, model: FrozenModel, max_length: int):
        if not isinstance(model, GenerativeModel):
            raise TaskError(
                f"{model.name} is a masked language model and cannot generate text: use a causal or encoder-decoder "
                "model, or pass `labels` to classify"
            )
        model.check_lm_head()
        super().__init__(model, max_length)

    @abstractmethod
    def encode_prompt(self, example: Example, max_new_tokens: int) -> EncodedExample:
        """Encode the prompt of an example, with space for `max_new_tokens` tokens of response.

        `compute_max_prompt_length` checks `max_new_tokens`.
        """

    @abstractmethod
    def encode_without_answer(self, example: Example, max_new_tokens: int) -> EncodedExample:
        """Encode the prompt for the answer that `get_references` returns, with space for `max_new_tokens` tokens."""

    @abstractmethod
    def get_references(self, example: Example) -> list[str]:
        """Return the right responses to an example.

        Raises:
            RecordError: the example has none.
        """

    @abstractmethod
    def build_example(self, text: str) -> Example:
        """Build an example without a response from a text."""

    @property
    def eos_token_id(self) -> int:
        """The token that ends a response in training.

        Raises:
            TaskError: the model has no end-of-text token.
        """
        if self.model.eos_token_id is None:
            raise TaskError(
                f"{self.model.name} has no end-of-text token, which ends a response: set `eos_token` in its "
                "tokenizer, or `eos_token_id` in its generation configuration"
            )
        return self.model.eos_token_id

    def compute_max_prompt_length(self, max_new_tokens: int) -> int:
        """Return the maximum prompt length, in tokens, that leaves space for `max_new_tokens` tokens of response.

        Raises:
            SettingError: `max_new_tokens` is less than one, or leaves no space for the prompt.
        """
        max_prompt_length = self.model.prompt_tokenizer.get_max_prompt_length(max_new_tokens, self.max_length)
        if max_new_tokens < 1 or max_prompt_length < 1:
            largest = sum(
                self.model.prompt_tokenizer.get_max_prompt_length(count, self.max_length) > 0
                for count in range(1, self.max_length)
            )
            raise SettingError(f"`max_new_tokens={max_new_tokens}`: choose 1 to {largest}")
        return max_prompt_length

    def collate(self, examples: Sequence[EncodedExample], payloads: BatchPayloads) -> Batch:
        """Collate one sequence per example, with output positions wherever the next token is supervised."""
        prompts = [apply_payload(example, get_payload(payloads, i))[0] for i, example in enumerate(examples)]
        responses = [get_supervision(example, ResponseTarget) for example in examples]
        input_ids, attention_mask = pad_right(
            [[*prompt, *response.token_ids] for prompt, response in zip(prompts, responses, strict=True)],
            self.model.device,
        )
        starts = [len(prompt) - 1 for prompt in prompts]
        output_indices = [
            i * input_ids.shape[1] + start + offset
            for i, (response, start) in enumerate(zip(responses, starts, strict=True))
            for offset in response.loss_positions
        ]
        return Batch(
            input_ids,
            attention_mask,
            output_indices=torch.tensor(output_indices, device=input_ids.device),
            targets=torch.tensor(
                [response.token_ids[offset] for response in responses for offset in response.loss_positions],
                device=input_ids.device,
            ),
            example_weights=torch.tensor(
                [float(len(response.loss_positions)) for response in responses], device=input_ids.device
            ),
        )

    def compute_losses(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Return the loss summed over each example's supervised tokens. Logits exist for a few tokens at a time."""
        chunk_size = max(1, MAX_LOGITS // self.model.shape.vocab_size)
        chunks = zip(hidden_states.split(chunk_size), batch.targets.split(chunk_size), strict=True)
        token_losses = torch.cat(
            [checkpoint(self._compute_token_losses, *chunk, use_reentrant=False) for chunk in chunks]
        )
        example_indices = torch.repeat_interleave(batch.example_weights.long())
        return torch.zeros_like(batch.example_weights).index_add(0, example_indices, token_losses)

    def _compute_token_losses(
        self, hidden_states: Float[Tensor, "R H"], targets: Int[Tensor, "R"]
    ) -> Float[Tensor, "R"]:
        return torch.nn.functional.cross_entropy(self.model.compute_logits(hidden_states), targets, reduction="none")

    def compute_outputs(self, hidden_states: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B 2"]:
        """Return each example's summed loss and its number of supervised tokens."""
        return torch.stack([self.compute_losses(hidden_states, batch), batch.example_weights], dim=1)

    def compute_metrics(self, outputs: Float[Tensor, "N 2"], examples: Sequence[EncodedExample]) -> dict[str, float]:  # noqa: ARG002
        """Compute the perplexity of the responses and the mean loss per token."""
        loss = float(outputs[:, 0].double().sum() / outputs[:, 1].double().sum())
        return {"perplexity": math.exp(min(loss, 700.0)), "loss": loss}

    def score_examples(self, outputs: Float[Tensor, "N 2"], examples: Sequence[EncodedExample]) -> list[float]:  # noqa: ARG002
        """Return the mean log-probability of each example's supervised tokens."""
        return (-outputs[:, 0].double() / outputs[:, 1].double()).tolist()

    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return the negated loss."""
        return (-metrics["loss"],)
