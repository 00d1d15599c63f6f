"""The handle of a generation that runs in the engine of this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

from softprompt.engine.sequence import EngineSequence
from softprompt.server.backends.generation_handle import GenerationHandle
from softprompt.server.request_errors import RequestError


@final
class EngineGenerationHandle(GenerationHandle):
    """The handle of a generation that runs in the engine.

    Args:
        request_cancel: asks the engine's thread to cancel the generation.

    Attributes:
        submitted_at: time of the submission, by the monotonic clock.
        sequence: sequence in the engine; None until the engine has accepted the request.
        has_slot: whether the sequence has taken a step.
        error: error that replaces the last output, if the worker ended the generation.
    """

    def __init__(self, request_cancel: Callable[[EngineGenerationHandle], None]):
        super().__init__()
        self._request_cancel, self.submitted_at = request_cancel, time.monotonic()
        self.sequence: EngineSequence | None = None
        self.has_slot = False
        self.error: RequestError | None = None

    @property
    def cached_tokens(self) -> int:
        """Number of prompt tokens that were found in the prefix cache."""
        return 0 if self.sequence is None else self.sequence.num_cached_tokens

    def close(self) -> None:
        """Cancel the generation and free its slot. No-op if it has finished."""
        self._request_cancel(self)
