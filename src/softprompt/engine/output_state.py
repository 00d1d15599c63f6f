"""Output state of a sequence: everything but keys and values that its next token depends on. Independent of slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softprompt.engine.async_grammar_state import AsyncGrammarState
from softprompt.engine.mask_pool import MaskPool
from softprompt.engine.penalties import build_penalties
from softprompt.engine.request import EngineRequest
from softprompt.engine.stop_aware_detokenizer import StopAwareDetokenizer


class OutputState:
    """Detokenizer, penalties and grammar state of a sequence. It can be rebuilt from the request and the tokens so far.

    Args:
        request: request of the sequence.
        decode: decodes token ids to text.
        vocab_size: number of tokens in the vocabulary, V.
        mask_pool: thread pool that computes grammar masks.
        output_token_ids: tokens generated already, whose text was emitted.

    Attributes:
        detokenizer: turns tokens into text.
        penalties: penalties and biases; None if the request has none.
        grammar_state: grammar state; None if the request has no grammar.
    """

    def __init__(
        self,
        request: EngineRequest,
        decode: Callable[[list[int]], str],
        vocab_size: int,
        mask_pool: MaskPool,
        output_token_ids: Sequence[int] = (),
    ):
        sampling = request.sampling
        self.detokenizer = StopAwareDetokenizer(decode, sampling.stop, output_token_ids)
        self.penalties = build_penalties(request, output_token_ids)
        self.grammar_state = (
            None
            if sampling.grammar is None
            else AsyncGrammarState(sampling.grammar, vocab_size, mask_pool, request.tenant, output_token_ids)
        )

    def accept_token(self, token_id: int) -> None:
        """Update the state with the newest token."""
        if self.penalties is not None:
            self.penalties.add_tokens([token_id])
        if self.grammar_state is not None:
            self.grammar_state.accept_token(token_id)

    def close(self) -> None:
        """Release what the finished sequence needed."""
        if self.grammar_state is not None:
            self.grammar_state.close()
