"""A pass of the model for texts whose labels are wanted, whosever they are and behind whatever prompts. It runs there.

A text that is too much for one pass is scored in several: its tokens first, some at a time, then the ways in which its
labels go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from softprompt.model import FrozenModel, Payload, Prefix
from softprompt.server.shelved import Shelved
from softprompt.tasks import Row
from softprompt.tasks.branch_batch import branch_batch
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.joint_batch import join_batches
from softprompt.tasks.objective import states_of


@dataclass(eq=False)
class LabelText:
    """A text whose labels are wanted.

    Attributes:
        shelved: the prompt.
        row: the text.
        payload: the prompt, and what was computed of the text behind it.
        scores: the labels' log-probabilities, once they are known.
        error: what went wrong instead.
        is_dropped: nobody wants them any more.
    """

    shelved: Shelved
    row: Row
    payload: Payload = field(init=False)
    scores: list[float] | None = None
    error: Exception | None = None
    is_dropped: bool = False
    _states: list[Tensor] = field(default_factory=list)
    _num_paths: int = 0  # of which the states are known

    def __post_init__(self) -> None:
        self.payload = self.shelved.payload

    @property
    def objective(self) -> ClassificationObjective:
        """The prompt's task."""
        objective = self.shelved.objective
        assert isinstance(objective, ClassificationObjective)  # the desk saw to it
        return objective

    @property
    def is_over(self) -> bool:
        """Nothing is left to do for it."""
        return self.is_dropped or self.scores is not None or self.error is not None

    @property
    def num_tokens(self) -> int:
        """Tokens that are still to be computed for it, at most."""
        known = self.payload.beginning if isinstance(self.payload, Prefix) else 0
        return len(self.row) - known + self.objective.extra_length

    @torch.no_grad()
    def advance(self, model: FrozenModel, tokens: int) -> None:
        """Compute a part of it, of about so many tokens."""
        known = self.payload.beginning if isinstance(self.payload, Prefix) else 0
        left = len(self.row.prompt) - 1 - known - (isinstance(self.payload, Prefix) and self.payload.has_bos)
        if isinstance(self.payload, Prefix) and left > 0:
            prolonged = model.prolonged(
                self.payload, self.row.prompt[: len(self.row.prompt) - 1 - max(0, left - tokens)]
            )
            assert prolonged is not None
            self.payload = prolonged
        elif len(self.objective.reader.paths) > 1 and model.shares_rows(self.payload):
            self._read_paths(model, tokens)
        else:
            score_together(model, [self])

    def _read_paths(self, model: FrozenModel, tokens: int) -> None:
        """Read some of the places where labels part."""
        reader = self.objective.reader
        stop, count = self._num_paths, 0
        while stop < len(reader.paths) and (count == 0 or count + len(reader.paths[stop]) <= tokens):
            count += len(reader.paths[stop])
            stop += 1
        batch = branch_batch(model, [self.row], self.payload, reader, range(self._num_paths, stop))
        self._states.append(states_of(model, batch, self.payload))
        self._num_paths = stop
        if stop == len(reader.paths):
            order = torch.tensor(sorted(range(len(reader.nodes)), key=lambda node: reader.nodes[node][0])).argsort()
            states = torch.cat(self._states)[order.to(model.device)]
            self.scores = reader.log_probabilities(model, states.unsqueeze(0))[0].tolist()


@torch.no_grad()
def score_together(model: FrozenModel, texts: Sequence[LabelText]) -> None:
    """Tell the labels of texts in one pass, the texts of a prompt next to one another."""
    groups: dict[int, list[LabelText]] = {}
    for text in texts:
        groups.setdefault(id(text.shelved), []).append(text)
    batches, behind = [], list[Payload]()
    for group in groups.values():
        payloads = [text.payload for text in group]
        batch = group[0].objective.collate([text.row for text in group], payloads)
        batches.append(batch)
        behind += [payload for payload in payloads for _ in range(batch.sequences_per_row)]
    is_one = len({id(payload) for payload in behind}) == 1
    states = states_of(model, join_batches(batches), behind[0] if is_one else behind)
    each = states.split([len(batch.reads) for batch in batches])
    for group, own, batch in zip(groups.values(), each, batches, strict=True):
        for text, scores in zip(group, group[0].objective.outputs(own, batch).tolist(), strict=True):
            text.scores = scores
