"""Requests behind any prompts, continued together on one frozen model, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.request import End, Request
from softprompt.engine.sampler import chosen
from softprompt.engine.scheduler import Piece, Running, Scheduler
from softprompt.engine.slots import Segment, Slots, Step, attending
from softprompt.engine.text import Writer
from softprompt.errors import ModelNotSupported
from softprompt.model import CausalModel, Embeddings, FrozenModel, Payload, Prefix


@dataclass(frozen=True)
class Written:
    """A token of a response, the text that is certain with it, and why it was the last, if it was."""

    token: int | None
    text: str
    end: End | None


Sink = Callable[[Written], None]
"""Is told of each token of a response as it is written."""


@dataclass(eq=False)
class _Row:
    """A running request with what stands in front of it, and who is told."""

    running: Running
    payload: Payload | None
    sink: Sink
    writer: Writer


class Engine:
    """Runs rows together. Nothing in it is shared between rows but the model's weights.

    Nobody else may run the model during a step.

    Args:
        model: a causal model whose attention can be replaced.
        slots: rows that may run at once.
        length: positions that a row may have, its prompt's included.
        tokens: that go through the model in a step.
        waiting: requests that may wait.
        clock: what deadlines are on.

    Raises:
        ModelNotSupported: the model's attention cannot be given to it.
    """

    def __init__(
        self,
        model: FrozenModel,
        slots: int = 64,
        length: int = 2048,
        tokens: int = 256,
        waiting: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ):
        if not (isinstance(model, CausalModel) and model.network._supports_attention_backend):
            raise ModelNotSupported(f"{model.name} cannot be served: its family does not let its attention be replaced")
        self.model, self._clock = model, clock
        length = min(length, model.shape.window)
        self.scheduler = Scheduler(slots, length, tokens, waiting)
        self.slots = Slots(model.shape, slots, length, model.device, model.dtype)
        self._rows: dict[Running, _Row] = {}

    @property
    def is_idle(self) -> bool:
        """There is nothing to do."""
        return self.scheduler.is_idle

    def add(self, request: Request, payload: Payload | None, sink: Sink) -> Running | None:
        """Let a request wait for its turn behind a compiled payload; None if too many wait.

        Raises:
            SettingError: it is longer than a row may be.
        """
        positions = 0
        if isinstance(payload, Prefix):
            payload, positions = payload.above(0), payload.num_positions  # of a ground nothing is remembered here
        running = self.scheduler.add(request, positions)
        if running is not None:
            self._rows[running] = _Row(running, payload, sink, Writer(self._decoded, request.sampling.stop))
        return running

    def cancel(self, running: Running, end: End = End.CANCELLED) -> None:
        """Stop a request that is not over yet; its room is free at once."""
        if running in self._rows:
            self._finish(running, Written(None, self._rows[running].writer.rest(), end))

    @torch.inference_mode()
    def step(self) -> None:
        """Put every row on by a token, or read a piece of it. Those whose deadline is over end."""
        for row in list(self.scheduler.overdue(self._clock())):
            self.cancel(row, End.DEADLINE)
        before = set(self.scheduler.running)
        pieces = self.scheduler.plan()
        for row in self.scheduler.running:
            if row not in before and isinstance(payload := self._rows[row].payload, Prefix):
                self.slots.load(row.slot, payload)
        if not pieces:
            return
        hidden = self._run(pieces)
        last = [piece for piece in pieces if piece.is_last]
        tokens = self._tokens(hidden, pieces, last)
        for piece in pieces:
            self.scheduler.advance(piece, tokens.get(piece))
        for piece in last:
            self._tell(piece.row)

    def _run(self, pieces: Sequence[Piece]) -> Float[Tensor, "T H"]:
        """The last layer's output for the tokens of pieces, in a row."""
        model = self.model
        segments, start = [], 0
        for piece in pieces:
            segments.append(self._segment(piece, start))
            start += piece.count
        single = [s for s, piece in zip(segments, pieces, strict=True) if piece.row.is_writing]
        step = Step(self.slots, single, segments[len(single) :])
        positions = torch.cat([torch.arange(s.behind, s.behind + s.count) for s in segments]).to(model.device)
        with attending(model.network):
            output: Tensor = model.family.trunk(model.network)(
                inputs_embeds=torch.cat([self._embedded(piece) for piece in pieces], dim=1),
                position_ids=positions.unsqueeze(0),
                use_cache=False,
                step=step,
            ).last_hidden_state
        return output[0]

    def _segment(self, piece: Piece, start: int) -> Segment:
        return Segment(piece.row.slot, start, piece.count, piece.row.positions + piece.row.computed)

    def _embedded(self, piece: Piece) -> Float[Tensor, "1 T E"]:
        row = piece.row
        payload = self._rows[row].payload
        ids = torch.tensor([row.known[row.computed : row.computed + piece.count]], device=self.model.device)
        return self.model.embed(ids, payload.tensor.unsqueeze(0) if isinstance(payload, Embeddings) else None)

    def _tokens(
        self, hidden: Float[Tensor, "T H"], pieces: Sequence[Piece], last: Sequence[Piece]
    ) -> Mapping[Piece, int]:
        """The next token of each row whose last known one was computed."""
        if not last:
            return {}
        ends, end = {}, -1
        for piece in pieces:
            end += piece.count
            ends[piece] = end
        at = torch.tensor([ends[piece] for piece in last], device=hidden.device)
        tokens = chosen(self.model.logits(hidden[at]), [piece.row for piece in last])
        return dict(zip(last, tokens, strict=True))

    def _tell(self, row: Running) -> None:
        """Tell of a row's newest token, and end the row if it is the last."""
        end, writer, token = self.scheduler.ended(row, self.model.eos), self._rows[row].writer, row.known[-1]
        text = writer.add(token)
        if writer.is_stopped:
            end = End.STOP
        if end is None:
            self._rows[row].sink(Written(token, text, None))
        else:
            self._finish(row, Written(token, text + writer.rest(), end))

    def _decoded(self, tokens: list[int]) -> str:
        return str(self.model.tokenizer.decode(tokens, skip_special_tokens=True))

    def _finish(self, row: Running, written: Written) -> None:
        moved, slot = self.scheduler.leave(row), row.slot
        if moved is not None:
            self.slots.move(len(self.scheduler.running), slot, moved.positions + moved.computed)
        self._rows.pop(row).sink(written)
