"""Unfinished request in the engine: its payload, its callback and the state of its response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from softprompt.engine.async_grammar_state import AsyncGrammarState
from softprompt.engine.mask_pool import MaskPool
from softprompt.engine.sequence import EngineSequence
from softprompt.model import FrozenModel, Payload
from softprompt.sampling import TokenOutput
from softprompt.sampling.output_state import OutputState
from softprompt.sampling.stop_aware_detokenizer import StopAwareDetokenizer

OutputCallback = Callable[[TokenOutput], None]
"""Called with each token of a response as soon as it is generated."""


@dataclass(eq=False)
class ActiveRequest:
    """Unfinished request. The state of its response is kept while the sequence is preempted.

    Attributes:
        sequence: sequence of the request.
        payload: compiled payload of the prompt; None without a soft prompt.
        on_output: called with each token of the response.
        grammar_state: grammar of the response, whose masks are computed in other threads; None without a grammar, and
            before the response begins.
    """

    sequence: EngineSequence
    payload: Payload | None
    on_output: OutputCallback
    grammar_state: AsyncGrammarState | None = None
    _output_state: OutputState | None = None

    @property
    def output_state(self) -> OutputState:
        """State of the response, once it has begun."""
        assert self._output_state is not None, "the sequence had no slot yet"
        return self._output_state

    def start_response(self, model: FrozenModel, mask_pool: MaskPool) -> None:
        """Build the state of the response when the sequence has its first slot; later calls change nothing."""
        if self._output_state is not None:
            return
        request, output_token_ids = self.sequence.request, self.sequence.output_token_ids
        if (grammar := request.sampling.grammar) is not None:
            self.grammar_state = AsyncGrammarState(grammar, mask_pool, request.tenant, output_token_ids)
        self._output_state = OutputState(
            request.sampling,
            request.prompt_token_ids,
            model.eos_token_ids,
            StopAwareDetokenizer(
                lambda token_ids: str(model.tokenizer.decode(token_ids, skip_special_tokens=True)),
                request.sampling.stop,
                output_token_ids,
            ),
            self.grammar_state,
            output_token_ids,
        )

    def flush_text(self) -> str:
        """Return the text that was held back, when no further token follows."""
        return "" if self._output_state is None else self._output_state.flush_text()

    def close(self) -> None:
        """Cancel the computation of the next token mask."""
        if self.grammar_state is not None:
            self.grammar_state.close()
