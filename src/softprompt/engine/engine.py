"""Requests behind any prompts, continued together on one frozen model, step by step."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from softprompt.engine.attention import Singles, Step, attending, fastest
from softprompt.engine.beginnings import BLOCK, Beginnings
from softprompt.engine.mask_pool import MaskPool
from softprompt.engine.request import End, Request
from softprompt.engine.row_guide import wait_for_masks
from softprompt.engine.row_state import RowState
from softprompt.engine.running import Running
from softprompt.engine.sampler import Choice, choose_tokens
from softprompt.engine.scheduler import Scheduler
from softprompt.engine.slots import Segment, Slots
from softprompt.engine.step_plan import Piece, token_counts
from softprompt.errors import ModelNotSupported
from softprompt.model import CausalModel, Embeddings, FrozenModel, Payload, Prefix
from softprompt.model.packing import filled
from softprompt.recent_tenants import RecentTenants

MIB = 2**20


@dataclass(frozen=True)
class Written:
    """A token of a response.

    Attributes:
        token: it; None where a response ends without one.
        text: what is certain with it, and was not before.
        end: why it was the last, if it was.
        logprob: the logarithm of its probability, if that was asked for.
        alternatives: the most probable tokens with theirs.
    """

    token: int | None
    text: str
    end: End | None
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


Sink = Callable[[Written], None]
"""Is told of each token of a response as it is written."""


@dataclass(eq=False)
class _Row:
    """A running request with what stands in front of it, and who is told."""

    running: Running
    payload: Payload | None
    sink: Sink
    state: RowState | None = None  # none before it has a slot


class Engine:
    """Runs rows together. Rows share the model's weights, and a tenant's rows what was made of texts that begin alike.

    Nobody else may run the model during a step.

    Args:
        model: a causal model whose attention can be replaced.
        slots: rows that may run at once.
        length: positions that a row may have, its prompt's included.
        tokens: that go through the model in a step; twice as many while no row writes.
        waiting: requests that may wait.
        memory: bytes that the rows' keys and values may take together; None for as much as the slots could.
        remembered: bytes for what is kept of texts that were read.
        clock: what deadlines are on.
        singles: attends rows that write; None for what is fastest here.

    Attributes:
        recent: tenants that asked lately, of whatever runs on the model.
        last_shares: what the last step is thought to have cost for each tenant, in seconds.

    Raises:
        ModelNotSupported: the model's attention cannot be given to it.
        IncompleteModel: the model has no word head.
    """

    def __init__(
        self,
        model: FrozenModel,
        slots: int = 64,
        length: int = 2048,
        tokens: int = 256,
        waiting: int = 1024,
        memory: int | None = None,
        remembered: int = 256 * MIB,
        clock: Callable[[], float] = time.monotonic,
        singles: Singles | None = None,
    ):
        if not (isinstance(model, CausalModel) and model.network._supports_attention_backend):
            raise ModelNotSupported(f"{model.name} cannot be served: its family does not let its attention be replaced")
        model.check_word_head()
        self.model, self._clock = model, clock
        length = min(length, model.shape.window)
        position = math.prod(model.shape.prefix(1)) * model.dtype.itemsize  # bytes
        room = None if memory is None else memory // position
        self.scheduler = Scheduler(slots, length, tokens, waiting, room)
        self.slots = Slots(model.shape, slots, length, model.device, model.dtype)
        self._singles = fastest(model.device, model.dtype) if singles is None else singles
        self.beginnings: Beginnings[Tensor] = Beginnings(remembered // (position * BLOCK))
        self._rows: dict[Running, _Row] = {}
        self.last_shares: Mapping[str, float] = {}
        self._masks = MaskPool()
        self.recent = RecentTenants()

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
        self.recent.add(request.tenant)
        running = self.scheduler.add(request, positions)
        if running is not None:
            self._rows[running] = _Row(running, payload, sink)
        return running

    def cancel(self, running: Running, end: End = End.CANCELLED) -> None:
        """Stop a request that is not over yet; its room is free at once."""
        if running in self._rows:
            state = self._rows[running].state
            self._finish(running, Written(None, "" if state is None else state.writer.rest(), end))

    def drop(self, running: Running) -> None:
        """Stop a request without another word of its text, in whatever state a step that failed has left it."""
        if running in self._rows:
            self._finish(running, Written(None, "", End.CANCELLED), has_failed=True)

    @torch.inference_mode()
    def step(self) -> None:
        """Put every row on by a token, or read a piece of it. Those whose deadline is over end."""
        for row in list(self.scheduler.overdue(self._clock())):
            self.cancel(row, End.DEADLINE)
        for row in self.scheduler.admit(self._preempt):
            self._begin(row)
        others_come = self.recent.has_others({row.request.tenant for row in self.scheduler.running})
        pieces = self.scheduler.plan(self._held_rows(), others_come=others_come)
        began = time.perf_counter()  # that masks were waited for is no cost of the step
        self.last_shares = {}
        if not pieces:
            return
        self.last_shares, counts = self._cost_by_tenant(pieces), token_counts(pieces)
        hidden = self._run(pieces)
        choices = self._choices(hidden, pieces, [piece for piece in pieces if piece.is_last])
        for piece in pieces:
            choice = choices.get(piece)
            is_read = choice is not None and choice.token is not None and not piece.row.is_writing
            self.scheduler.advance(piece, None if choice is None else choice.token)
            if is_read:
                self._remember(piece.row)
        for piece, choice in choices.items():
            self._tell(piece.row, choice)
        self.scheduler.budget.observe(*counts, time.perf_counter() - began)

    def _cost_by_tenant(self, pieces: Sequence[Piece]) -> dict[str, float]:
        """What a step costs for each tenant: an equal part of what any step does, and its own tokens."""
        budget, by_tenant = self.scheduler.budget, defaultdict[str, list[Piece]](list)
        for piece in pieces:
            by_tenant[piece.row.request.tenant].append(piece)
        base = budget.base / len(by_tenant)
        return {tenant: base + budget.cost(*token_counts(own)) for tenant, own in by_tenant.items()}

    def _held_rows(self) -> set[Running]:
        """Rows that cannot be gone on with yet: which tokens their grammar allows is still being found."""
        guides = {row: guide for row in self.scheduler.running if (guide := self._state(row).guide) is not None}
        if guides:
            is_idle = not any(row not in guides or guides[row].is_ready for row in self.scheduler.running)
            wait_for_masks(guides.values(), is_idle=is_idle)
        return {row for row, guide in guides.items() if not guide.is_ready}

    def _state(self, row: Running) -> RowState:
        """A running row's state, built from its request and its tokens so far where it has none yet."""
        own = self._rows[row]
        if own.state is None:
            size = self.model.shape.vocab_size
            own.state = RowState(row.request, self._decoded, size, self._masks, row.written)
        return own.state

    def _begin(self, row: Running) -> None:
        """Put into a row's slot what is known of it before the model is asked."""
        payload = self._rows[row].payload
        if isinstance(payload, Prefix):
            self.slots.put(row.slot, 0, payload.tensor)
        if (whose := _whose(row)) is not None:
            for states in self.beginnings.find(whose, row.known):
                self.slots.put(row.slot, row.positions + row.computed, states)
                row.computed += states.shape[3]
            if not row.preemptions:
                row.reused = row.computed

    def _preempt(self, row: Running) -> None:
        """Take a row's slot back. What writes its text stays as it is, so it goes on as if nothing had happened."""
        self._remember(row)
        slot = row.slot
        if not row.is_writing:
            self.slots.clear(slot)
        self._free(slot, self.scheduler.preempt(row))

    def _remember(self, row: Running) -> None:
        """Keep what was made of a row's tokens so far."""
        if (whose := _whose(row)) is not None:
            self.beginnings.keep(
                whose,
                row.known[: row.computed],
                lambda start, stop: self.slots.get(row.slot, row.positions + start, row.positions + stop),
            )

    def _run(self, pieces: Sequence[Piece]) -> Float[Tensor, "T H"]:
        """The last layer's output for the tokens of pieces, in a row.

        It is filled up with nothing, so that no layer has to.
        """
        model = self.model
        segments, start = [], 0
        for piece in pieces:
            segments.append(self._segment(piece, start))
            start += piece.count
        single = [s for s, piece in zip(segments, pieces, strict=True) if piece.row.is_writing]
        step = Step(self.slots, self._singles, single, segments[len(single) :])
        positions = torch.cat([torch.arange(s.behind, s.behind + s.count) for s in segments]).to(model.device)
        rest = filled(start) - start
        with attending(model.network):
            output: Tensor = model.family.trunk(model.network)(
                inputs_embeds=pad(self._embedded(pieces), (0, 0, 0, rest)),
                position_ids=pad(positions, (0, rest)).unsqueeze(0),
                use_cache=False,
                step=step,
            ).last_hidden_state
        return output[0, :start]

    def _segment(self, piece: Piece, start: int) -> Segment:
        return Segment(piece.row.slot, start, piece.count, piece.row.positions + piece.row.computed)

    def _embedded(self, pieces: Sequence[Piece]) -> Float[Tensor, "1 T E"]:
        """The pieces' tokens, and those of their rows' virtual tokens that are among them."""
        ids = [piece.row.known[piece.row.computed : piece.row.computed + piece.count] for piece in pieces]
        whole = self.model.embed(torch.tensor([list(chain.from_iterable(ids))], device=self.model.device))
        for end, piece, own in zip(accumulate(map(len, ids)), pieces, ids, strict=True):
            payload = self._rows[piece.row].payload
            if isinstance(payload, Embeddings) and min(own) < 0:
                part = torch.tensor([own], device=self.model.device)
                whole[:, end - len(own) : end] = self.model.embed(part, payload.tensor.unsqueeze(0))
        return whole

    def _choices(
        self, hidden: Float[Tensor, "T H"], pieces: Sequence[Piece], last: Sequence[Piece]
    ) -> Mapping[Piece, Choice]:
        """The next token of each row whose last known one was computed."""
        if not last:
            return {}
        ends = dict(zip(pieces, accumulate(piece.count for piece in pieces), strict=True))
        at = torch.tensor([ends[piece] - 1 for piece in last], device=hidden.device)
        rows = [piece.row for piece in last]
        choices = choose_tokens(self.model.logits(hidden[at]), rows, [self._state(row) for row in rows])
        return dict(zip(last, choices, strict=True))

    def _tell(self, row: Running, choice: Choice) -> None:
        """Tell of a row's newest token, and end the row if it is the last."""
        if choice.token is None:
            self.cancel(row, choice.end or End.STUCK)
            return
        end, state = self.scheduler.ended(row, self.model.eos_token_ids), self._state(row)
        text = "" if end is End.STOP else state.writer.add(choice.token)  # what ends a text is none of it
        if state.writer.is_stopped:
            end = End.STOP
        if end is not None:
            text += state.writer.rest()
        written = Written(choice.token, text, end, choice.logprob, choice.alternatives)
        if end is None:
            state.take(choice.token)
            self._rows[row].sink(written)
        else:
            self._remember(row)
            self._finish(row, written)

    def _decoded(self, tokens: list[int]) -> str:
        return str(self.model.tokenizer.decode(tokens, skip_special_tokens=True))

    def _finish(self, row: Running, written: Written, *, has_failed: bool = False) -> None:
        slot = row.slot
        if slot >= 0 and (has_failed or written.end is End.OVERFLOW or not row.is_writing):
            self.slots.clear(slot)
        self._free(slot, self.scheduler.leave(row))
        own = self._rows.pop(row)
        if own.state is not None:
            own.state.close()
        own.sink(written)

    def _free(self, slot: int, moved: Running | None) -> None:
        """Let a slot go, or have it hold the row that has moved there."""
        if moved is not None:
            last, positions = len(self.scheduler.running), moved.positions + moved.computed
            self.slots.move(last, slot, positions)
            self.slots.trim(slot, positions)
            self.slots.trim(last, 0)
        elif slot >= 0:
            self.slots.trim(slot, 0)


def _whose(row: Running) -> tuple[str, str] | None:
    """Who may share what is made of a row's text; None if nobody may."""
    request = row.request
    return None if request.prompt is None else (request.tenant, request.prompt)
