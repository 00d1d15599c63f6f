"""A task bound to a model: examples in; rows, batches and losses out. Knows no task and no method by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.data import Example
from softprompt.errors import RowError
from softprompt.model import FrozenModel, Payload, Payloads
from softprompt.model.branches import Branches
from softprompt.tasks.example_batches import split_into_batches
from softprompt.tasks.passage import Passage


@dataclass(frozen=True)
class Row:
    """An example in tokens.

    Attributes:
        prompt: ids up to where the answer begins, BOS included; negative ones are placeholders of virtual tokens.
        response: ids of the answer, empty where the answer is read off and not written.
        label: the index of the right label, or -1.
        cut: text was cut to fit the model's window.
        learnt: where in the response the tokens stand that are learnt, where that is not everywhere: a chat goes on
            after the first answer, and what its user says is not learnt.
        tail: ids behind the answer, where a masked model reads on.
        passage: the tokens inside the prompt that a head reads, where it reads some.
        targets: what is right there, as the objective counts: a tag for each word, an answer's first and last token;
            empty where it was cut away.
        answers: the right answers as texts, where a part of the text answers.
        lost: what is to be learnt was cut away, so there is nothing to learn.
        task: the index of its task, where several are learnt together.
    """

    prompt: list[int]
    response: list[int]
    label: int = -1
    cut: bool = False
    learnt: tuple[int, ...] | None = None
    tail: list[int] = field(default_factory=list)
    passage: Passage | None = None
    targets: tuple[int, ...] = ()
    answers: tuple[str, ...] = ()
    lost: bool = False
    task: int = 0

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response) + len(self.tail)

    @property
    def unread(self) -> int:
        """How many ids it begins with at which nothing is read."""
        places = [] if self.passage is None else [place for place in self.passage.places if place >= 0]
        return min([len(self.prompt) - 1, *places])

    @property
    def supervised(self) -> Sequence[int]:
        """Where in the response the tokens stand that are learnt."""
        return range(len(self.response)) if self.learnt is None else self.learnt


@dataclass(frozen=True)
class Batch:
    """B rows as N sequences of T tokens, padded behind, and where the model is read.

    Attributes:
        ids: `[N, T]`; negative ids are placeholders of virtual tokens.
        mask: `[N, T]`, false at padding.
        reads: `[R]` positions whose hidden state matters, in the flattened `[N * T]`, and from there on in the
            flattened `[M * l]` of the branches.
        targets: `[R]` token ids or tags, `[B]` labels, `[2·B]` ends of answers: as the objective that made the batch
            reads them.
        weights: `[B]` how much each row counts: 1, or its supervised tokens.
        sequences_per_row: N / B.
        branches: the ways in which the sequences go on, where these are run behind one computation of each.
    """

    ids: Int[Tensor, "N T"]
    mask: Bool[Tensor, "N T"]
    reads: Int[Tensor, "R"]
    targets: Int[Tensor, "_"]
    weights: Float[Tensor, "B"]
    sequences_per_row: int = 1
    branches: Branches | None = None

    @property
    def is_read(self) -> Bool[Tensor, "N T"]:
        """At which tokens the model is read."""
        flat = torch.zeros(self.ids.numel(), dtype=torch.bool, device=self.ids.device)
        return flat.index_fill(0, self.reads[self.reads < len(flat)], True).view_as(self.ids)

    @property
    def useful_tokens(self) -> int:
        """Tokens that are neither padding nor virtual."""
        branches = 0 if self.branches is None else int(self.branches.mask.sum())
        return int((self.mask & (self.ids >= 0)).sum()) + branches


class Objective(ABC):
    """What training and evaluation ask of a task."""

    def __init__(self, model: FrozenModel):
        self.model = model

    @abstractmethod
    def encode(self, example: Example) -> Row:
        """An example in tokens; raises RowError where it does not fit the task."""

    @property
    def extra_length(self) -> int:
        """Tokens that are computed for every row beside its own."""
        return 0

    def encode_all(self, examples: Iterable[Example]) -> Iterator[Row]:
        """Many examples in tokens, in their order: the rows that `encode` makes, tokenized in batches.

        Raises:
            RowError: an example does not fit the task; of several in a batch the first.
        """
        for batch in split_into_batches(examples):
            try:
                rows = self._encode_batch(batch)
            except RowError:
                rows = [self.encode(example) for example in batch]  # the first that is wrong is named
            yield from rows

    def _encode_batch(self, examples: Sequence[Example]) -> list[Row]:
        """A few examples in tokens; the objectives that can tokenize them in one call do."""
        return [self.encode(example) for example in examples]

    @abstractmethod
    def collate(self, rows: Sequence[Row], payloads: Payloads) -> Batch:
        """Rows as one batch, each arranged around its payload."""

    @abstractmethod
    def losses(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B"]:
        """Each row's summed negative log-likelihood, to be divided by the rows' weights."""

    @abstractmethod
    def outputs(self, hidden: Float[Tensor, "R H"], batch: Batch) -> Float[Tensor, "B C"]:
        """What an evaluation keeps of each row; `metrics` reads it."""

    @abstractmethod
    def metrics(self, outputs: Float[Tensor, "N C"], rows: Sequence[Row]) -> dict[str, float]:
        """Figures of merit over all rows of an evaluation, the headline first."""

    @abstractmethod
    def scores(self, outputs: Float[Tensor, "N C"], rows: Sequence[Row]) -> list[float]:
        """Each row's own figure, larger is better: what two ways to answer the same rows are compared by."""

    def never_answered(self, outputs: Float[Tensor, "N C"], rows: Sequence[Row]) -> tuple[str, ...]:  # noqa: ARG002
        """The labels that rows have and that are never answered; none where nothing is chosen."""
        return ()

    @abstractmethod
    def quality(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """By what the best is chosen: larger is better."""

    def behind(self, payload: Payload | None, rows: Sequence[Row]) -> Payload | None:
        """What rows stand behind: a compiled payload, and what all of them begin with where running it once pays."""
        shared = beginning(rows)
        return (
            self.model.prolonged(payload, shared) if len(shared) * (len(rows) - 1) > self.model.pass_cost else payload
        )

    def read(self, batch: Batch, payloads: Payloads) -> Float[Tensor, "R H"]:
        """Run the model over a batch, each row behind its payload, and pick the states that are read."""
        if isinstance(payloads, Sequence):
            payloads = [payload for payload in payloads for _ in range(batch.sequences_per_row)]
        return states_of(self.model, batch, payloads)


def states_of(model: FrozenModel, batch: Batch, payloads: Payloads) -> Float[Tensor, "R H"]:
    """The states of a batch that are read, each sequence of it behind its payload."""
    if batch.branches is None:
        return model.hidden(batch.ids, batch.mask, payloads, batch.is_read).flatten(0, 1)[batch.reads]
    both = model.hidden_of_branches(batch.ids, batch.mask, payloads, batch.is_read, batch.branches)
    return torch.cat([each.flatten(0, 1) for each in both])[batch.reads]


def beginning(rows: Sequence[Row]) -> list[int]:
    """The ids that all rows begin with, up to the first virtual token and the first place that is read."""
    shared = list(takewhile(lambda token: token >= 0, rows[0].prompt))
    for row in rows:
        same = zip(shared, row.prompt[: row.unread], strict=False)
        shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], same)]
        if not shared:
            break
    return shared


def arranged(row: Row, payload: Payload | None) -> tuple[list[int], list[int]]:
    """A row's ids in front of the answer and behind it, as they stand with its payload.

    Without a payload there are no virtual tokens, so the placeholders that a template's markers left are dropped.
    """
    if payload is None:
        return [i for i in row.prompt if i >= 0], [i for i in row.tail if i >= 0]
    return payload.arrange(row.prompt), row.tail


def payload_of(payloads: Payloads, row: int) -> Payload | None:
    """The payload of one row."""
    return payloads[row] if isinstance(payloads, Sequence) else payloads


def padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Sequences as ids `[N, T]` and mask `[N, T]`, padded behind with id 0."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences], device=device)
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=device)
    return ids, torch.arange(longest, device=device) < lengths.unsqueeze(1)
