"""Demonstrations: the few-shot context of examples with answers that precedes a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from softprompt.errors import SettingError, TaskError

BLANK_LINE = "\n\n"


@dataclass(frozen=True)
class EncodedDemonstration:
    """A demonstration as token ids: an example with its answer.

    Attributes:
        prompt_ids: token ids up to the answer, without the model's special tokens.
        answer_ids: token ids of the right answer.
        separator_ids: token ids of the blank line after the answer.
    """

    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]
    separator_ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids) + len(self.separator_ids)


@dataclass(frozen=True)
class FewShotContext:
    """A few-shot context: demonstrations as one sequence of token ids.

    Attributes:
        token_ids: token ids of all demonstrations, P in number.
        answer_ranges: index range of each answer in `token_ids`.
    """

    token_ids: tuple[int, ...]
    answer_ranges: tuple[range, ...]

    @classmethod
    def from_demonstrations(cls, demonstrations: Sequence[EncodedDemonstration]) -> FewShotContext:
        """Concatenate demonstrations in order."""
        token_ids: list[int] = []
        answer_ranges = []
        for demonstration in demonstrations:
            start = len(token_ids) + len(demonstration.prompt_ids)
            answer_ranges.append(range(start, start + len(demonstration.answer_ids)))
            token_ids += [*demonstration.prompt_ids, *demonstration.answer_ids, *demonstration.separator_ids]
        return cls(tuple(token_ids), tuple(answer_ranges))


def fit_demonstrations(groups: Sequence[Sequence[EncodedDemonstration]], max_length: int) -> FewShotContext:
    """Choose as many different demonstrations as fit in `max_length` tokens, one of each group in turn, in order.

    No demonstration takes more than its group's share of the tokens, so that each group gets its turn. The choice ends
    with the first exhausted group, so that group sizes differ by one at most.

    Args:
        groups: demonstrations to choose from, such as those of each label; a group may be empty.
        max_length: largest total number of tokens.

    Raises:
        SettingError: one demonstration of each group does not fit.
        TaskError: there are no demonstrations.
    """
    groups = [group for group in _drop_duplicates(groups) if group]
    if not groups:
        raise TaskError('no example has an answer to initialize from: pass `init="text:YOUR TEXT"` instead')
    chosen = _pick_round_robin(groups, max_length)
    if len(chosen) < len(groups):
        raise SettingError(_does_not_fit_message(groups, max_length))
    return FewShotContext.from_demonstrations(chosen)


def _drop_duplicates(groups: Sequence[Sequence[EncodedDemonstration]]) -> list[list[EncodedDemonstration]]:
    """Keep the first demonstration of each prompt, even across labels. Empty prompts are dropped too.

    Every answer of the context then has a token before it.
    """
    seen: set[tuple[int, ...]] = {()}
    groups_without_duplicates = []
    for group in groups:
        first_by_prompt: dict[tuple[int, ...], EncodedDemonstration] = {}
        for demonstration in group:
            first_by_prompt.setdefault(tuple(demonstration.prompt_ids), demonstration)
        groups_without_duplicates.append(
            [demonstration for prompt, demonstration in first_by_prompt.items() if prompt not in seen]
        )
        seen |= first_by_prompt.keys()
    return groups_without_duplicates


def _pick_round_robin(groups: Sequence[Sequence[EncodedDemonstration]], max_length: int) -> list[EncodedDemonstration]:
    max_group_tokens, remaining = max_length // len(groups), max_length
    chosen: list[EncodedDemonstration] = []
    for group in cycle([iter(group) for group in groups]):
        demonstration = next(
            (demonstration for demonstration in group if len(demonstration) <= min(max_group_tokens, remaining)), None
        )
        if demonstration is None:
            break
        chosen.append(demonstration)
        remaining -= len(demonstration)
    return chosen


def _does_not_fit_message(groups: Sequence[Sequence[EncodedDemonstration]], max_length: int) -> str:
    num_tokens_needed = len(groups) * max(min(map(len, group)) for group in groups)
    subject = "a whole example" if len(groups) == 1 else f"an example of each of the {len(groups)} labels"
    return (
        f"{subject} with its answer does not fit in {max_length} virtual tokens: pass "
        f'`num_virtual_tokens={num_tokens_needed}` or more, shorter examples, or `init="text:YOUR TEXT"`'
    )
