"""The text to distill in front of a task's inputs: its token ids, and its keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from softprompt.data import Example
from softprompt.distillation.distill_task import DistillableTask
from softprompt.distillation.source_text import SourceText
from softprompt.errors import SettingError
from softprompt.model import CausalModel, FrozenModel, KVPrefix, Placement
from softprompt.tasks import ChatTask, FewShotContext
from softprompt.tasks.chat_tokenizer import ChatTokenizer
from softprompt.tasks.demonstrations import BLANK_LINE

MIN_INPUT_TOKENS = 16  # positions that a context must leave for inputs and answers


@dataclass(frozen=True)
class Context:
    """Text in front of every input, as the teacher reads it.

    Attributes:
        token_ids: Token ids of the text, BOS included.
        prefix: Keys and values of these tokens, `[L, 2, G, N, D]`, which precede the same inputs as the distilled
            prefix.
    """

    token_ids: tuple[int, ...]
    prefix: KVPrefix

    @classmethod
    def from_token_ids(cls, token_ids: Sequence[int], model: CausalModel) -> Context:
        """Compute the keys and values of a text, once for all inputs.

        Raises:
            SettingError: The text leaves no space for inputs in the context window.
        """
        if len(token_ids) + MIN_INPUT_TOKENS > model.shape.window:
            raise SettingError(
                f"the text has {len(token_ids)} tokens, and the window of {model.name} has {model.shape.window}: "
                "shorten the text, or choose a model with a longer window"
            )
        has_bos = model.prompt_tokenizer.bos_token_id is not None
        with torch.no_grad():
            embeddings = model.embed_tokens(torch.tensor([list(token_ids)], device=model.device))[0]
            tensor = model.compute_kv(embeddings)
        placement = Placement.AFTER_BOS if has_bos else Placement.BEFORE
        return cls(tuple(token_ids), KVPrefix(tensor, placement, has_bos=has_bos))

    @property
    def num_tokens(self) -> int:
        """Number of tokens of the text, N, without BOS."""
        return self.prefix.num_virtual_tokens


def require_causal(model: FrozenModel) -> CausalModel:
    """Return a model if it is causal.

    Raises:
        SettingError: The model is not.
    """
    if isinstance(model, CausalModel):
        return model
    raise SettingError(f"{model.name} is {model.shape.kind}: only causal models read a text once for all inputs")


def encode_text(text: str, task: DistillableTask, model: CausalModel) -> list[int]:
    """Tokenize a text that precedes a task's inputs, with BOS.

    In a chat it is the system message, if the chat template has a place for one. Otherwise a blank line follows it.
    Special tokens in it are ordinary text.
    """
    if isinstance(task, ChatTask) and task.system_message == "prompt":
        token_ids = ChatTokenizer(model).tokenize_system_message(text)
        assert token_ids is not None  # the task was built for this model
        return token_ids
    return model.prompt_tokenizer.add_special_tokens(
        model.prompt_tokenizer.tokenize(text + BLANK_LINE, split_special_tokens=True)
    )


def encode_source(source: SourceText, task: DistillableTask, model: CausalModel) -> list[int]:
    """Tokenize the whole text that precedes a task's inputs, with BOS.

    Raises:
        RecordError: An example has no answer.
    """
    if source.demonstrations is None:
        return encode_text(source.text, task, model)
    return encode_few_shot_prompt(list(source.demonstrations), task, model)


def encode_truncated_source(
    source: SourceText, task: DistillableTask, model: CausalModel, max_length: int
) -> list[int]:
    """Tokenize the beginning of the text that fits in a number of tokens, BOS included; of examples, the first ones.

    Returns:
        The token ids; empty if nothing fits.
    """
    if source.demonstrations is None:
        return encode_truncated_text(source.text, task, model, max_length)
    demonstrations = list(source.demonstrations)
    for count in range(len(demonstrations) - 1, 0, -1):
        token_ids = encode_few_shot_prompt(demonstrations[:count], task, model)
        if len(token_ids) <= max_length:
            return token_ids
    return []


def encode_truncated_text(text: str, task: DistillableTask, model: CausalModel, max_length: int) -> list[int]:
    """Tokenize the beginning of a text that fits in a number of tokens, BOS included; empty if nothing fits."""
    text_ids = model.prompt_tokenizer.tokenize(text, split_special_tokens=True)
    for length in range(min(len(text_ids), max_length), 0, -1):
        part = str(model.tokenizer.decode(text_ids[:length])).rstrip("\ufffd")
        token_ids = encode_text(part, task, model)
        if len(token_ids) <= max_length:
            return token_ids
    return []


def encode_few_shot_prompt(examples: Sequence[Example], task: DistillableTask, model: CausalModel) -> list[int]:
    """Tokenize examples with their answers, in order, each followed by a blank line, with BOS.

    Raises:
        RecordError: An example has no answer.
    """
    assert not isinstance(task, ChatTask)
    demonstrations = [task.encode_demonstration(model, example) for example in examples]
    few_shot = FewShotContext.from_demonstrations(demonstrations)
    return model.prompt_tokenizer.add_special_tokens(list(few_shot.token_ids))
