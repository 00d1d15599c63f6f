"""Sampling parameters of a response. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING

from softprompt.errors import SettingError

if TYPE_CHECKING:
    from softprompt.sampling.grammar import CompiledGrammar

MAX_GREEDY_TEMPERATURE = 1e-5
"""Largest temperature at which sampling is greedy: logits divided by such a small number may be infinite."""
REPETITION_PENALTY_RANGE = (0.01, 100.0)
MAX_LOGIT_OFFSET = 1e30  # largest bias or penalty; with it a logit stays finite
MAX_STOP_STRINGS = 16
MAX_STOP_LENGTH = 256  # characters
MAX_LOGPROBS = 20  # alternatives to the sampled token, as in OpenAI's API


@dataclass(frozen=True)
class SamplingParams:
    """Sampling parameters of one response, named as in vLLM and OpenAI's API.

    With equal parameters and logits the same tokens are sampled, independently of the batch: a token depends only on
    its logits, the seed and its number in the response.

    Attributes:
        max_new_tokens: maximum length of the response, in tokens.
        temperature: divisor of the logits. Up to `MAX_GREEDY_TEMPERATURE` sampling is greedy.
        top_p: nucleus sampling: keep the fewest tokens with this total probability (Holtzman et al. 2020, arXiv
            1904.09751). At least one token is kept, so 0 is greedy.
        top_k: number of most probable tokens to keep; 0 keeps all.
        min_p: minimum probability to keep a token, relative to the most probable token (arXiv 2407.01082).
        presence_penalty: subtracted from the logit of each token that occurs in the response.
        frequency_penalty: subtracted from the logit of a token once for each occurrence in the response.
        repetition_penalty: divides the positive logits and multiplies the negative logits of tokens that occur in
            the text or the response (Keskar et al. 2019, arXiv 1909.05858). Must be within
            `REPETITION_PENALTY_RANGE`. Virtual tokens are not counted.
        logit_bias: maps token ids to a number that is added to their logits.
        seed: seed of the random draws.
        stop: stop strings, which end the response and are not part of it: at most `MAX_STOP_STRINGS`, of at most
            `MAX_STOP_LENGTH` characters.
        ignore_eos: continue after end-of-sequence tokens.
        logprobs: number of alternatives whose log-probabilities are returned in addition to the sampled token's.
            They are the model's: no other parameter changes them. None returns no log-probabilities.
        grammar: compiled JSON schema or regular expression that the response must match.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    _: KW_ONLY
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    stop: Sequence[str] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    grammar: CompiledGrammar | None = None

    def __post_init__(self) -> None:
        if errors := [message for message, is_valid in self._iter_checks() if not is_valid]:
            raise SettingError("; ".join(errors))

    def _iter_checks(self) -> Iterator[tuple[str, bool]]:
        """Yield a message for each constraint, and whether the constraint is met."""
        yield f"`max_new_tokens={self.max_new_tokens}`: choose at least 1", self.max_new_tokens >= 1
        yield f"`temperature={self.temperature}`: choose a finite number, 0 or more", 0 <= self.temperature < math.inf
        yield f"`top_p={self.top_p}`: choose 0 to 1", 0 <= self.top_p <= 1
        yield f"`top_k={self.top_k}`: choose 0 or more", self.top_k >= 0
        yield f"`min_p={self.min_p}`: choose 0 to 1", 0 <= self.min_p <= 1
        minimum, maximum = REPETITION_PENALTY_RANGE
        is_valid = minimum <= self.repetition_penalty <= maximum
        yield f"`repetition_penalty={self.repetition_penalty}`: choose {minimum} to {maximum}", is_valid
        yield from self._check_logit_offsets()
        yield from self._check_stop_strings()
        is_valid = (self.logprobs or 0) in range(MAX_LOGPROBS + 1)
        yield f"`logprobs={self.logprobs}`: choose 0 to {MAX_LOGPROBS}", is_valid
        message = "`ignore_eos` cannot be combined with a grammar, which decides where the response ends"
        yield message, not (self.grammar and self.ignore_eos)

    def _check_logit_offsets(self) -> Iterator[tuple[str, bool]]:
        """Yield a check for each bias and penalty: the logits must stay finite."""
        offsets = {
            f"`presence_penalty={self.presence_penalty}`": self.presence_penalty,
            f"`frequency_penalty={self.frequency_penalty}`": self.frequency_penalty,
            **{f"`logit_bias` of token {token} is {bias}": bias for token, bias in self.logit_bias.items()},
        }
        for description, value in offsets.items():
            yield f"{description}: choose {-MAX_LOGIT_OFFSET} to {MAX_LOGIT_OFFSET}", abs(value) <= MAX_LOGIT_OFFSET

    def _check_stop_strings(self) -> Iterator[tuple[str, bool]]:
        yield "`stop`: stop strings must not be empty", all(self.stop)
        count, longest = len(self.stop), max(map(len, self.stop), default=0)
        yield f"`stop`: {count} stop strings: use at most {MAX_STOP_STRINGS}", count <= MAX_STOP_STRINGS
        yield (
            f"`stop`: a stop string has {longest} characters: use at most {MAX_STOP_LENGTH}",
            longest <= MAX_STOP_LENGTH,
        )

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is taken and no random number is drawn."""
        return self.temperature <= MAX_GREEDY_TEMPERATURE or self.top_p == 0

    @property
    def has_penalties(self) -> bool:
        """Whether penalties or biases change any logits."""
        penalties = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty - 1)
        return any(penalties) or bool(self.logit_bias)

    def check_vocabulary(self, vocab_size: int) -> None:
        """Check that the biases and the grammar are of a vocabulary of `vocab_size` tokens.

        Raises:
            SettingError: a bias or the grammar is of another vocabulary.
        """
        if invalid := [token_id for token_id in self.logit_bias if not 0 <= token_id < vocab_size]:
            raise SettingError(f"`logit_bias`: {invalid[0]} is not a token id: choose 0 to {vocab_size - 1}")
        if self.grammar is not None and self.grammar.vocab_size != vocab_size:
            raise SettingError("`grammar` was compiled for another model: compile it with this model's tokenizer")

    def offset_seed(self, index: int) -> SamplingParams:
        """Return the parameters of response number `index`, 0 for the first: each draws with its own seed."""
        return replace(self, seed=self.seed + index)
