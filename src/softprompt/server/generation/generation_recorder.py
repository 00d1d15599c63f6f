"""Recorder of the tokens of a request, in the metrics of the server and in the usage of the version that generates."""

from __future__ import annotations

import time

from softprompt.server.prompts.usage_tracker import VersionUsage
from softprompt.server.server_metrics import ServerMetrics


class GenerationRecorder:
    """A recorder of the generations of one request, from their submission.

    Args:
        metrics: metrics of the server.
        version_usage: usage counts of the version.
        tenant: tenant of the request.
        prompt_tokens: tokens of all texts of the request.
        num_generations: number of generations.

    Attributes:
        prompt_tokens: tokens of all texts of the request.
        completion_tokens: tokens that were generated so far.
    """

    def __init__(
        self, metrics: ServerMetrics, version_usage: VersionUsage, tenant: str, prompt_tokens: int, num_generations: int
    ):
        self._metrics, self._version_usage, self._tenant = metrics, version_usage, tenant
        self._last_token_at = [time.monotonic()] * num_generations
        self._has_first_token = [False] * num_generations
        self._is_finished = False
        self.prompt_tokens, self.completion_tokens = prompt_tokens, 0

    def record_token(self, index: int) -> None:
        """Record a token of the generation with this index, and the time since the previous one."""
        self.completion_tokens += 1
        now = time.monotonic()
        seconds = now - self._last_token_at[index]
        if self._has_first_token[index]:
            self._metrics.observe_inter_token(seconds)
        else:
            self._metrics.observe_first_token(seconds)
            self._version_usage.record_first_token(seconds)
        self._last_token_at[index], self._has_first_token[index] = now, True

    def finish_request(self) -> None:
        """Record the token counts of the request, once."""
        if not self._is_finished:
            self._metrics.count_tokens(self._tenant, self.prompt_tokens, self.completion_tokens)
            self._version_usage.record_request(self.prompt_tokens, self.completion_tokens)
        self._is_finished = True
