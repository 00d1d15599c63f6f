"""What is asked of the engine, and how far it is. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from softprompt.errors import SettingError

if TYPE_CHECKING:
    from softprompt.engine.grammar import Grammar

GREEDY_UP_TO = 1e-5
"""The temperature up to which the most probable token is taken: logits divided by as little may be infinite."""
REPETITION_PENALTIES = (0.01, 100.0)
MOST_ADDED = 1e30  # to a logit, so that it stays finite
MOST_STOPS = 16
LONGEST_STOP = 256  # characters
MOST_ALTERNATIVES = 20  # tokens beside the one that was chosen, as in OpenAI's API


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, as OpenAI's API and vLLM name it.

    Attributes:
        max_new_tokens: the longest response, in tokens.
        temperature: up to `GREEDY_UP_TO` the most probable token is taken; above, the logits are divided by it and a
            token is drawn.
        top_p: draw from the fewest tokens that have this much probability (Holtzman et al. 2020, arXiv 1904.09751); at
            least one, which 0 takes.
        top_k: draw from this many; 0 for all.
        min_p: draw from those that have this share of the most probable one's probability (arXiv 2407.01082).
        presence_penalty: is taken from the logit of each token that the response has.
        frequency_penalty: is taken from it as often as the response has it.
        repetition_penalty: divides the positive logits of what text and response have, multiplies the negative ones
            (Keskar et al. 2019, arXiv 1909.05858), and is one of `REPETITION_PENALTIES` or between them. Virtual
            tokens are no tokens, and never count.
        logit_bias: is added to the logits of tokens.
        seed: of the draws.
        stop: texts before which the response ends: `MOST_STOPS` at most, of `LONGEST_STOP` characters at most.
        ignore_eos: go on behind the tokens that end a response.
        logprobs: tell how probable each token was to the model, before all of the above, and so many alternatives;
            None to tell nothing.
        grammar: what the response is written in: JSON of a schema, or a regular expression.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    stop: Sequence[str] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        if wrong := [complaint for complaint, is_right in self._checks() if not is_right]:
            raise SettingError("; ".join(wrong))

    def _checks(self) -> Iterator[tuple[str, bool]]:
        """What is wrong with a field, and whether it is right."""
        yield f"max_new_tokens {self.max_new_tokens}: choose at least 1", self.max_new_tokens >= 1
        yield f"temperature {self.temperature}: choose a finite number, 0 or more", 0 <= self.temperature < math.inf
        yield f"top_p {self.top_p}: choose 0 to 1", 0 <= self.top_p <= 1
        yield f"top_k {self.top_k}: choose 0 or more", self.top_k >= 0
        yield f"min_p {self.min_p}: choose 0 to 1", 0 <= self.min_p <= 1
        least, most = REPETITION_PENALTIES
        is_right = least <= self.repetition_penalty <= most
        yield f"repetition_penalty {self.repetition_penalty}: choose {least} to {most}", is_right
        yield from self._check_added()
        yield "stop: an empty text stands everywhere", all(self.stop)
        yield f"stop: {len(self.stop)} texts: give {MOST_STOPS} at most", len(self.stop) <= MOST_STOPS
        longest = max(map(len, self.stop), default=0)
        yield f"stop: a text of {longest} characters: give texts of {LONGEST_STOP} at most", longest <= LONGEST_STOP
        is_right = (self.logprobs or 0) in range(MOST_ALTERNATIVES + 1)
        yield f"logprobs {self.logprobs}: choose 0 to {MOST_ALTERNATIVES}", is_right
        complaint = "ignore_eos: a response in a grammar ends where the grammar does"
        yield complaint, not (self.grammar and self.ignore_eos)

    def _check_added(self) -> Iterator[tuple[str, bool]]:
        """Whether what is added to logits leaves them finite."""
        biases = {f"logit_bias of token {token}": bias for token, bias in self.logit_bias.items()}
        penalties = {"presence_penalty": self.presence_penalty, "frequency_penalty": self.frequency_penalty}
        for name, value in {**penalties, **biases}.items():
            yield f"{name} is {value}: choose {-MOST_ADDED} to {MOST_ADDED}", abs(value) <= MOST_ADDED

    @property
    def is_greedy(self) -> bool:
        """The most probable token is taken, and none is drawn."""
        return self.temperature <= GREEDY_UP_TO or self.top_p == 0


class End(StrEnum):
    """Why a response ended."""

    STOP = "stop"  # a token that ends a response, or a stop text
    LENGTH = "length"  # as long as it may be
    CANCELLED = "cancelled"  # nobody wants it any more
    DEADLINE = "deadline"  # it took too long
    OVERFLOW = "overflow"  # the model's logits were not finite
    STUCK = "stuck"  # its grammar allows no token any more, or is too much work


@dataclass(frozen=True)
class Request:
    """A row to be continued.

    Attributes:
        ids: its tokens as they meet the prompt's payload; negative ones are placeholders of virtual tokens.
        sampling: how it is continued.
        tenant: who asks: whoever asks for much does not keep others waiting.
        deadline: on the engine's clock; None for no hurry.
        prompt: names the payload's content, so that a later request of the tenant's behind the same one may take over
            what was made of a text that begins alike; None to share nothing.
    """

    ids: tuple[int, ...]
    sampling: Sampling
    tenant: str = ""
    deadline: float | None = None
    prompt: str | None = None
