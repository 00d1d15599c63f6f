"""Examples with their answers one behind the other: the context that few-shot prompting puts in front of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from softprompt.errors import SettingError, TaskError

BLANK_LINE = "\n\n"


@dataclass(frozen=True)
class Demonstration:
    """An example in tokens, as the model would see it in a row of its own.

    Attributes:
        prompt: the ids up to where the answer begins, without what the model puts around a row.
        answer: the ids of the right answer.
        end: the ids of the blank line behind it.
    """

    prompt: Sequence[int]
    answer: Sequence[int]
    end: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer) + len(self.end)


@dataclass(frozen=True)
class Demonstrations:
    """Examples in tokens, one behind the other.

    Attributes:
        ids: of all of them, P in number.
        answers: where in the ids each answer stands.
    """

    ids: tuple[int, ...]
    answers: tuple[range, ...]

    @classmethod
    def of(cls, examples: Sequence[Demonstration]) -> Demonstrations:
        """The examples in their order."""
        ids: list[int] = []
        answers = []
        for each in examples:
            begin = len(ids) + len(each.prompt)
            answers.append(range(begin, begin + len(each.answer)))
            ids += [*each.prompt, *each.answer, *each.end]
        return cls(tuple(ids), tuple(answers))


def fitting(groups: Sequence[Sequence[Demonstration]], room: int) -> Demonstrations:
    """As many different examples as fit in `room` tokens, in the order given, one of each group in turn.

    No example takes more than its group's share of the room, so that each group has its turn; and it ends with the
    first group that has none left, so that no group has two more than another.

    Args:
        groups: examples to choose from, such as those of each label; a group may be empty.
        room: the most tokens that they may have together.

    Raises:
        SettingError: not one example of each group fits.
        TaskError: there is no example at all.
    """
    groups = [group for group in _distinct(groups) if group]
    if not groups:
        raise TaskError('there is no example with an answer to start from: choose `init="text:words of your own"`')
    found = _in_turn(groups, room)
    if len(found) < len(groups):
        raise SettingError(_too_little(groups, room))
    return Demonstrations.of(found)


def _distinct(groups: Sequence[Sequence[Demonstration]]) -> list[list[Demonstration]]:
    """Each text once, though it have two labels; none that is empty, so that every answer has something before it."""
    seen: set[tuple[int, ...]] = {()}
    found = []
    for group in groups:
        first: dict[tuple[int, ...], Demonstration] = {}
        for each in group:
            first.setdefault(tuple(each.prompt), each)
        found.append([each for prompt, each in first.items() if prompt not in seen])
        seen |= first.keys()
    return found


def _in_turn(groups: Sequence[Sequence[Demonstration]], room: int) -> list[Demonstration]:
    share, left = room // len(groups), room
    found: list[Demonstration] = []
    for group in cycle([iter(group) for group in groups]):
        each = next((each for each in group if len(each) <= min(share, left)), None)
        if each is None:
            break
        found.append(each)
        left -= len(each)
    return found


def _too_little(groups: Sequence[Sequence[Demonstration]], room: int) -> str:
    need = len(groups) * max(min(map(len, group)) for group in groups)
    which = "a whole example" if len(groups) == 1 else f"an example of each of the {len(groups)} labels"
    return (
        f"{which} with its answer does not fit in {room} virtual tokens: choose `num_virtual_tokens={need}` or more, "
        'give shorter examples, or `init="text:words of your own"`'
    )
