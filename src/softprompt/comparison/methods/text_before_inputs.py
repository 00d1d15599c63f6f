"""The text of a comparison in front of the inputs of its task."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.distillation.context import encode_source, require_causal
from softprompt.distillation.distill_task import DistillableTask, build_task_after_text
from softprompt.distillation.source_text import SourceText
from softprompt.errors import SettingError, TaskError
from softprompt.model import CausalModel

DEFAULT_NUM_TOKENS = 32  # of methods that shorten the text, as of `distil`


@dataclass(frozen=True)
class TextBeforeInputs:
    """A text in front of the inputs of a task.

    Attributes:
        source: the text.
        task: task whose inputs follow the text.
        model: base model.
        token_ids: token ids of the whole text as the inputs follow it, with BOS.
    """

    source: SourceText
    task: DistillableTask
    model: CausalModel
    token_ids: list[int]

    @classmethod
    def from_experiment(cls, experiment: Experiment, method: str) -> TextBeforeInputs:
        """Put the text of the settings in front of the experiment's inputs.

        Args:
            experiment: the experiment; `check_text` has checked that it has a text.
            method: name of the method, for messages.

        Raises:
            SettingError, TaskError: the model is not causal, or the inputs of the task cannot follow the text.
            RecordError: an example of the text has no answer.
        """
        source = experiment.text
        assert source is not None
        try:
            model = require_causal(experiment.model)
            task = build_task_after_text(experiment.task, model, source)
        except (SettingError, TaskError) as error:
            raise type(error)(f"{method}: {error}") from error
        return cls(source, task, model, encode_source(source, task, model))

    @property
    def num_leading_tokens(self) -> int:
        """Number of token ids before the text: one for BOS, if the model has it."""
        return int(self.model.prompt_tokenizer.bos_token_id is not None)

    def check_num_tokens(self, method: str, num_tokens: int) -> None:
        """Check that a method makes the text shorter.

        Args:
            method: name of the method, for the message.
            num_tokens: number of tokens that the method leaves.

        Raises:
            SettingError: the whole text is not longer.
        """
        length = len(self.token_ids) - self.num_leading_tokens
        if num_tokens >= length:
            raise SettingError(
                f"{method}: {self.source.path} has {length} tokens: choose fewer, or the method document, which "
                "keeps all of them"
            )
