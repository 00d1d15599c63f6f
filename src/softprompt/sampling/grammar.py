"""Grammars that responses must match: a JSON schema or a regular expression. Imports no torch.

llguidance, which vLLM also uses, computes the allowed tokens. This module gives it the model's tokenizer and turns its
errors into `SettingError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softprompt.errors import SettingError
from softprompt.sampling.grammar_checker import GrammarChecker
from softprompt.sampling.grammar_limits import check_regex_repetitions, check_schema_repetitions

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from transformers import PreTrainedTokenizerFast

MAX_GRAMMAR_CHARS = 100_000  # maximum length of a schema or expression
MAX_LEXER_STATES = 25_000  # 1 to 2 KB each, until the response ends


@dataclass(frozen=True)
class CompiledGrammar:
    """Compiled grammar, which any number of responses may use.

    Attributes:
        matcher: llguidance's matcher in its initial state.
        spec: JSON schema or expression in vLLM's format: `{"json": …}` or `{"regex": …}`.
        vocab_size: number of tokens in the vocabulary, V.
    """

    matcher: LLMatcher
    spec: Mapping[str, Any]
    vocab_size: int

    def create_state(self) -> GrammarState:
        """Return a new grammar state for one response."""
        return GrammarState(self.matcher.deep_copy(), self.vocab_size)


class GrammarState:
    """Grammar state of one response. Masks are computed on demand, which may take long."""

    def __init__(self, matcher: LLMatcher, vocab_size: int):
        self._matcher, self._vocab_size = matcher, vocab_size

    def get_mask(self) -> NDArray[np.bool_] | None:
        """Return whether each of the V tokens may be next; None if no token may.

        End-of-sequence tokens are allowed where the grammar is complete.
        """
        bits = np.zeros(-(-self._vocab_size // 32), dtype=np.int32)
        self._matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
        if self._matcher.is_error():
            return None
        allowed = np.unpackbits(bits.view(np.uint8), bitorder="little")[: self._vocab_size].astype(bool)
        return allowed if allowed.any() else None

    def accept_token(self, token_id: int) -> None:
        """Advance the state by the next token."""
        self._matcher.consume_token(token_id)


class GuidanceCompiler:
    """Compiler of grammars for one model's tokenizer. Thread-safe.

    Args:
        tokenizer: the model's tokenizer.
        vocab_size: number of tokens in the vocabulary, V.
        eos_token_ids: end-of-sequence tokens, allowed where the grammar is complete.
        checker: compiles a grammar in another process first, so that no grammar blocks the caller. None compiles
            without that check.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        vocab_size: int,
        eos_token_ids: Sequence[int],
        checker: GrammarChecker | None = None,
    ):
        self._tokenizer, self._vocab_size, self._eos_token_ids = tokenizer, vocab_size, list(eos_token_ids)
        self._checker = checker

    def close(self) -> None:
        """Stop the process of the checker."""
        if self._checker is not None:
            self._checker.close()

    def compile_json_schema(self, schema: Mapping[str, Any]) -> CompiledGrammar:
        """Compile a JSON schema; `{"type": "object"}` allows any object.

        Raises:
            SettingError: the schema is invalid, too long, or uses unsupported features.
        """
        llguidance = _import_llguidance()
        if len(json.dumps(schema)) > MAX_GRAMMAR_CHARS:
            raise SettingError(f"the JSON schema is too long: use at most {MAX_GRAMMAR_CHARS} characters")
        check_schema_repetitions(schema)
        # Unbounded white space would let a model generate nothing else.
        options = {"whitespace_pattern": "[ \\n]{0,2}"}
        try:
            text = llguidance.LLMatcher.grammar_from_json_schema(dict(schema), defaults=options)
        except ValueError as error:
            raise SettingError(f"the JSON schema cannot be used: {error}") from error
        return self._compile_grammar("the JSON schema", text, {"json": schema})

    def compile_regex(self, pattern: str) -> CompiledGrammar:
        """Compile a regular expression, which the whole response must match.

        Raises:
            SettingError: the expression is invalid or too long.
        """
        if len(pattern) > MAX_GRAMMAR_CHARS:
            raise SettingError(f"the regular expression is too long: use at most {MAX_GRAMMAR_CHARS} characters")
        check_regex_repetitions(pattern)
        text = _import_llguidance().LLMatcher.grammar_from_regex(pattern)
        return self._compile_grammar("the regular expression", text, {"regex": pattern})

    def _compile_grammar(self, description: str, text: str, spec: Mapping[str, Any]) -> CompiledGrammar:
        tokenizer = self._llguidance_tokenizer
        if self._checker is not None and (problem := self._checker.find_problem(text, MAX_LEXER_STATES)):
            raise _grammar_error(description, problem)
        limits = _import_llguidance().LLParserLimits(max_lexer_states=MAX_LEXER_STATES, verbose_errors=False)
        matcher = _import_llguidance().LLMatcher(tokenizer, text, log_level=0, limits=limits)
        if matcher.is_error():
            raise _grammar_error(description, matcher.get_error())
        return CompiledGrammar(matcher, spec, self._vocab_size)

    @cached_property
    def _llguidance_tokenizer(self) -> LLTokenizer:
        _import_llguidance()
        from llguidance.hf import from_tokenizer

        # The model's vocabulary may be padded beyond the tokenizer's.
        eos_token_ids = [token_id for token_id in self._eos_token_ids if token_id < len(self._tokenizer)]
        if not eos_token_ids:
            raise SettingError(
                "grammars need an end-of-text token, and this model has no end-of-text token: use another model"
            )
        try:
            return from_tokenizer(self._tokenizer, n_vocab=self._vocab_size, eos_token=eos_token_ids)
        except ValueError as error:
            raise SettingError(f"this model's tokenizer does not support grammars: {error}") from error


def _grammar_error(description: str, problem: str) -> SettingError:
    message = " ".join(problem.split())  # llguidance marks errors on a second line
    return SettingError(f"{description} cannot be used: {message[:300]}")


def _import_llguidance() -> Any:
    try:
        import llguidance
    except ModuleNotFoundError as error:
        raise SettingError("grammars need llguidance: pip install 'softprompt[serve]'") from error
    return llguidance
