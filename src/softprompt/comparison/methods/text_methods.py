"""Methods that repeat the text of the settings in every request, whole or truncated. Nothing is trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import FittedModel
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.method_argument import parse_count, reject_argument
from softprompt.comparison.methods.text_before_inputs import DEFAULT_NUM_TOKENS, TextBeforeInputs
from softprompt.distillation.context import Context, encode_truncated_source
from softprompt.errors import SettingError
from softprompt.training import TrainerCallback


class TextMethod(AdaptationMethod):
    """A method that repeats a text, or a part of it, in every request.

    Attributes:
        name: name in the settings.
    """

    kind, is_trained, is_stochastic, needs_text = MethodKind.PROMPTING, False, False, True
    name: str

    def get_cache_key_settings(self, experiment: Experiment) -> Mapping[str, Any]:
        """Return the hash of the text."""
        return {"text": experiment.text_digest}

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:  # noqa: ARG002
        """Compute the keys and values of the text, once for all inputs.

        Raises:
            SettingError, TaskError: the text does not fit the model, or the inputs of the task cannot follow it.
            RecordError: an example of the text has no answer.
        """
        text = TextBeforeInputs.from_experiment(experiment, self.name)
        token_ids = self.encode_text(text)
        prefix = Context.from_token_ids(token_ids, text.model).prefix
        words = str(text.model.tokenizer.decode(token_ids[text.num_leading_tokens :])) + text.task.template
        return LocalFittedModel(
            text.task.build_objective(text.model, text.model.shape.window - prefix.num_positions),
            prefix,
            stored_bytes=len(words.encode()),
            supports_mixed_batches=True,
            num_request_tokens=prefix.num_virtual_tokens,
        )

    @abstractmethod
    def encode_text(self, text: TextBeforeInputs) -> list[int]:
        """Return the token ids of what is repeated, with BOS."""


class WholeText(TextMethod):
    """The whole text, `document`."""

    name, title = "document", "whole text"

    def __init__(self, argument: str | None = None):
        reject_argument("document", argument)

    def encode_text(self, text: TextBeforeInputs) -> list[int]:
        """Return the token ids of the whole text."""
        return text.token_ids


class TruncatedText(TextMethod):
    """The beginning of the text, `truncate:P`: at most P tokens, or the first examples that fit."""

    def __init__(self, argument: str | None = None):
        """Parse P.

        Raises:
            SettingError: P is not a positive integer.
        """
        self.num_tokens = parse_count("truncate", argument, DEFAULT_NUM_TOKENS, "the number of tokens")
        self.name, self.title = f"truncate:{self.num_tokens}", f"text truncated to {self.num_tokens} tokens"

    def encode_text(self, text: TextBeforeInputs) -> list[int]:
        """Return the token ids of the beginning that fits.

        Raises:
            SettingError: the whole text fits, or nothing does.
        """
        text.check_num_tokens(self.name, self.num_tokens)
        max_length = self.num_tokens + text.num_leading_tokens
        token_ids = encode_truncated_source(text.source, text.task, text.model, max_length)
        if not token_ids:
            raise SettingError(
                f"{self.name}: no part of {text.source.path} fits in {self.num_tokens} tokens: choose more"
            )
        return token_ids
