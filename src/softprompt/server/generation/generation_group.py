"""The concurrent generations of one request: `n` for each of its texts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from softprompt.engine import EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.evaluation.respond import StreamingTrimmer
from softprompt.model import Payload
from softprompt.server.backends.inference_backend import GenerationHandle, InferenceBackend
from softprompt.server.generation.input_names import attribute_errors_to
from softprompt.server.generation.prompt_renderer import TokenizedPrompt
from softprompt.server.prompts.usage_tracker import VersionUsage
from softprompt.server.request_errors import GrammarFailed, NonFiniteResponse, RequestError, RequestTimeout
from softprompt.server.schemas.chat_schemas import CompletionUsage, PromptTokensDetails
from softprompt.server.server_metrics import ServerMetrics

FINISH_REASONS = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}


@dataclass(frozen=True)
class OutputChunk:
    """A chunk of a response.

    Attributes:
        index: index of the response in the request.
        text: new text that later tokens cannot change.
        token_output: generated token, with its log-probability if requested.
        finish_reason: OpenAI's finish reason, if this is the last chunk.
    """

    index: int
    text: str
    token_output: TokenOutput
    finish_reason: str | None


class GenerationGroup:
    """The running generations of a request. Closing the group cancels them at once.

    Attributes:
        model_name: version or base model that generates.
    """

    def __init__(
        self,
        prompts: Sequence[TokenizedPrompt],
        n: int,
        model_name: str,
        tenant: str,
        request_timeout: float,
        metrics: ServerMetrics,
        version_usage: VersionUsage,
    ):
        self._prompts, self._n, self.model_name = prompts, n, model_name
        self._strippers = [StreamingTrimmer() if prompt.has_template else None for prompt in prompts for _ in range(n)]
        self._events: asyncio.Queue[tuple[int, TokenOutput | RequestError]] = asyncio.Queue()
        self._handles: list[GenerationHandle] = []
        self._tenant, self._request_timeout, self._metrics, self._version_usage = (
            tenant,
            request_timeout,
            metrics,
            version_usage,
        )
        self._last_token_at = [time.monotonic()] * len(self._strippers)
        self._has_first_token = [False] * len(self._strippers)
        self._is_closed = False
        self.prompt_tokens = sum(prompt.num_text_tokens for prompt in prompts)
        self.completion_tokens = 0

    @classmethod
    async def start_generations(
        cls,
        backend: InferenceBackend,
        prompts: Sequence[TokenizedPrompt],
        input_names: Sequence[str],
        sampling_params: Sequence[Sequence[SamplingParams]],
        model_name: str,
        tenant: str,
        request_timeout: float,
        metrics: ServerMetrics,
        version_usage: VersionUsage,
    ) -> GenerationGroup:
        """Submit a generation for each text and each of its sampling parameters.

        Args:
            backend: runs the generations.
            prompts: tokenized texts.
            input_names: names of the texts in the request, for error messages.
            sampling_params: sampling parameters of the responses to each text.
            model_name: version or base model that generates.
            tenant: tenant of the request.
            request_timeout: maximum seconds of the request.
            metrics: metrics of the server.
            version_usage: usage counts of the version.

        Raises:
            QueueFull: too many requests are waiting.
            SettingError: a sequence is longer than the maximum.
        """
        group = cls(prompts, len(sampling_params[0]), model_name, tenant, request_timeout, metrics, version_usage)
        deadline = time.monotonic() + request_timeout
        requests = [
            (EngineRequest(prompt.token_ids, params, tenant, deadline, prompt.prompt_digest), prompt.payload)
            for prompt, prompt_params in zip(prompts, sampling_params, strict=True)
            for params in prompt_params
        ]

        async def submit_generation(index: int, request: EngineRequest, payload: Payload | None) -> GenerationHandle:
            with attribute_errors_to(input_names[index // group._n]):
                return await backend.submit_request(request, payload, partial(group._on_token, index))

        results = await asyncio.gather(  # concurrently: each submission waits for the current step
            *(submit_generation(index, *request) for index, request in enumerate(requests)), return_exceptions=True
        )
        group._handles = [result for result in results if not isinstance(result, BaseException)]
        if failures := [result for result in results if isinstance(result, BaseException)]:
            group.close()
            raise failures[0]
        return group

    @property
    def num_generations(self) -> int:
        """Number of generations."""
        return len(self._handles)

    @property
    def cached_tokens(self) -> int:
        """Text tokens that were found in the prefix cache; for a text with several responses, those of the first."""
        first_handles = self._handles[:: self._n]
        return sum(
            prompt.count_text_tokens(handle.cached_tokens)
            for prompt, handle in zip(self._prompts, first_handles, strict=True)
        )

    @property
    def usage(self) -> CompletionUsage:
        """Token counts so far."""
        return CompletionUsage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            total_tokens=self.prompt_tokens + self.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self.cached_tokens),
        )

    async def iter_chunks(self) -> AsyncIterator[OutputChunk]:
        """Yield the chunks of all responses as they are generated.

        Raises:
            RequestError: a generation failed or took too long.
        """
        num_running = self.num_generations
        while num_running:
            index, event = await self._events.get()
            if isinstance(event, RequestError):
                raise event
            if event.finish_reason in (FinishReason.TIMEOUT, FinishReason.NON_FINITE, FinishReason.GRAMMAR_DEAD_END):
                raise self._create_end_error(event.finish_reason)
            if event.token_id is not None:
                self._count_token(index)
            finish_reason = None
            if event.finish_reason is not None:
                finish_reason = FINISH_REASONS.get(event.finish_reason, "stop")
                num_running -= 1
            stripper = self._strippers[index]
            text = event.text if stripper is None else stripper.push_text(event.text)
            yield OutputChunk(index, text, event, finish_reason)

    def _create_end_error(self, finish_reason: FinishReason) -> RequestError:
        """Create the error of a generation that ended without a complete response."""
        if finish_reason is FinishReason.TIMEOUT:
            return RequestTimeout(self._request_timeout)
        return NonFiniteResponse(self.model_name) if finish_reason is FinishReason.NON_FINITE else GrammarFailed()

    async def collect_chunks(self) -> list[list[OutputChunk]]:
        """Return the chunks of each response once all responses are complete.

        Raises:
            RequestError: a generation failed or took too long.
        """
        chunks: list[list[OutputChunk]] = [[] for _ in self._handles]
        async for chunk in self.iter_chunks():
            chunks[chunk.index].append(chunk)
        return chunks

    def close(self) -> None:
        """Cancel the running generations and record the usage."""
        for handle in self._handles:
            handle.close()
        if not self._is_closed:
            self._metrics.count_tokens(self._tenant, self.prompt_tokens, self.completion_tokens)
            self._version_usage.record_request(self.prompt_tokens, self.completion_tokens)
        self._is_closed = True

    def __enter__(self) -> GenerationGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _count_token(self, index: int) -> None:
        """Count a token and record its latency."""
        self.completion_tokens += 1
        now = time.monotonic()
        observe = (
            self._metrics.observe_inter_token if self._has_first_token[index] else self._metrics.observe_first_token
        )
        observe(now - self._last_token_at[index])
        if not self._has_first_token[index]:
            self._version_usage.record_first_token(now - self._last_token_at[index])
        self._last_token_at[index], self._has_first_token[index] = now, True

    def _on_token(self, index: int, event: TokenOutput | RequestError) -> None:
        self._events.put_nowait((index, event))
