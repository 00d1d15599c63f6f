"""Responses in a form: JSON of a schema, or what a regular expression matches. Knows no torch.

Which tokens may follow is llguidance's work (Microsoft's, as used by vLLM and OpenAI); here it is given a model's words
and its errors are said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softprompt.engine.grammar_checker import GrammarChecker
from softprompt.errors import SettingError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerFast

LONGEST = 100_000  # characters of a grammar
MOST_REPEATS = 100_000  # as which something may repeat: libraries of llguidance before 1.9 take memory for each
MOST_STATES = 25_000  # one or two KB each, for as long as a response is written


@dataclass(frozen=True)
class Grammar:
    """A form that responses can have, ready for any number of them.

    Attributes:
        matcher: tells which tokens may follow.
        form: what it is, in vLLM's words: `{"json": …}` or `{"regex": …}`.
    """

    matcher: LLMatcher
    form: Mapping[str, Any]

    def start(self) -> Guide:
        """A guide for one response."""
        return Guide(self.matcher.deep_copy())


class Guide:
    """Which tokens one response may go on with."""

    def __init__(self, matcher: LLMatcher):
        self._matcher = matcher

    def allowed(self, size: int) -> NDArray[np.bool_] | None:
        """For each of the `size` tokens of the vocabulary, whether it may be next; None if none may.

        Those that end a response may where the form is complete.
        """
        bits = np.zeros(-(-size // 32), dtype=np.int32)
        self._matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        if self._matcher.is_error():
            return None
        allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[:size].astype(bool)
        return allowed if allowed.any() else None

    def take(self, token: int) -> None:
        """This one was next."""
        self._matcher.consume_token(token)


class Grammars:
    """Makes grammars for the words of one model. Threads may share it.

    Args:
        tokenizer: the model's.
        size: V, tokens of its vocabulary.
        eos_token_ids: those that end a response; each is allowed where the form is complete.
        checker: tries them first, so that none stops the caller for good; None to believe them.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        size: int,
        eos_token_ids: Sequence[int],
        checker: GrammarChecker | None = None,
    ):
        self._tokenizer, self._size, self._eos_token_ids = tokenizer, size, list(eos_token_ids)
        self._checker = checker

    def close(self) -> None:
        """End what tries them."""
        if self._checker is not None:
            self._checker.close()

    def json_schema(self, schema: Mapping[str, Any]) -> Grammar:
        """JSON that a schema allows; `{"type": "object"}` allows any object.

        Raises:
            SettingError: the schema is none, too long, or uses what is not known here.
        """
        llguidance = _library()
        if len(json.dumps(schema)) > LONGEST:
            raise SettingError(f"the schema is too long: write it in {LONGEST} characters")
        _check_repeats(schema)
        # Without bounds on white space a model can go on with that alone.
        options = {"whitespace_pattern": "[ \\n]{0,2}"}
        try:
            text = llguidance.LLMatcher.grammar_from_json_schema(dict(schema), defaults=options)
        except ValueError as error:
            raise SettingError(f"the JSON schema cannot be used: {error}") from error
        return self._made("the JSON schema", text, {"json": schema})

    def regex(self, pattern: str) -> Grammar:
        """What a regular expression matches, from its beginning to its end.

        Raises:
            SettingError: it is none, or too long.
        """
        if len(pattern) > LONGEST:
            raise SettingError(f"the regular expression is too long: write it in {LONGEST} characters")
        _check_expression(pattern)
        text = _library().LLMatcher.grammar_from_regex(pattern)
        return self._made("the regular expression", text, {"regex": pattern})

    def _made(self, what: str, text: str, form: Mapping[str, Any]) -> Grammar:
        words = self._words
        if self._checker is not None and (problem := self._checker.find_problem(text, MOST_STATES)):
            raise _unusable(what, problem)
        limits = _library().LLParserLimits(max_lexer_states=MOST_STATES, verbose_errors=False)
        matcher = _library().LLMatcher(words, text, log_level=0, limits=limits)
        if matcher.is_error():
            raise _unusable(what, matcher.get_error())
        return Grammar(matcher, form)

    @cached_property
    def _words(self) -> LLTokenizer:
        _library()
        from llguidance.hf import from_tokenizer

        ends = [each for each in self._eos_token_ids if each < len(self._tokenizer)]  # a vocabulary may be padded
        if not ends:
            raise SettingError("this model has no end-of-text token, so no response could end where a grammar does")
        try:
            return from_tokenizer(self._tokenizer, n_vocab=self._size, eos_token=ends)
        except ValueError as error:
            raise SettingError(f"this model's tokenizer cannot be held to a grammar: {error}") from error


def _check_repeats(schema: object) -> None:
    """See that nothing in a schema is to repeat as often as no response could, but which takes memory for each time.

    Raises:
        SettingError: something is.
    """
    left = [schema]
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            for key, value in each.items():
                if key in _COUNTS and isinstance(value, int | float) and value > MOST_REPEATS:
                    raise _too_often(f"`{key}` {value}")
                if key == "pattern" and isinstance(value, str):
                    _check_expression(value)
            left += [value for key, value in each.items() if key not in _DATA]
        elif isinstance(each, list | tuple):
            left += each


_COUNTS = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
)
_DATA = ("const", "enum", "default", "examples")  # values, and no schemas
_REPEATS = re.compile(r"(?<!\\)\{(\d+)(?:,(\d*))?\}")


def _check_expression(pattern: str) -> None:
    for match in _REPEATS.finditer(pattern):
        if any(len(count) > 9 or int(count) > MOST_REPEATS for count in match.groups() if count):
            raise _too_often(f"`{match[0][:30]}`")


def _too_often(what: str) -> SettingError:
    return SettingError(f"{what} is more than anything may repeat: choose at most {MOST_REPEATS:,}")


def _unusable(what: str, problem: str) -> SettingError:
    said = " ".join(problem.split())  # some of it is drawn under the expression
    return SettingError(f"{what} cannot be used: {said[:300]}")


def _library() -> Any:
    try:
        import llguidance
    except ModuleNotFoundError as error:
        raise SettingError("grammars need llguidance: pip install 'softprompt[serve]'") from error
    return llguidance
