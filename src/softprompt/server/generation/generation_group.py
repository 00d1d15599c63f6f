"""The concurrent generations of one request: `n` for each of its texts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from softprompt.engine import EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.evaluation.respond import StreamingTrimmer
from softprompt.model import Payload
from softprompt.server.backends.generation_handle import GenerationHandle, merge_outputs
from softprompt.server.backends.inference_backend import InferenceBackend
from softprompt.server.generation.generation_recorder import GenerationRecorder
from softprompt.server.generation.input_names import attribute_errors_to
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.request_errors import GrammarFailed, NonFiniteResponse, RequestTimeout
from softprompt.server.schemas.chat_schemas import CompletionUsage, PromptTokensDetails

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

    Args:
        handles: generations, `n` for each text.
        prompts: tokenized texts.
        model_name: version or base model that generates.
        request_timeout: maximum seconds of the request, for the message.
        recorder: records the tokens.

    Attributes:
        model_name: version or base model that generates.
    """

    def __init__(
        self,
        handles: Sequence[GenerationHandle],
        prompts: Sequence[TokenizedPrompt],
        model_name: str,
        request_timeout: float,
        recorder: GenerationRecorder,
    ):
        self._handles, self._prompts, self.model_name = handles, prompts, model_name
        self._request_timeout, self._recorder = request_timeout, recorder
        self._n = len(handles) // len(prompts)
        self._trimmers = [
            StreamingTrimmer() if prompts[index // self._n].has_template else None for index in range(len(handles))
        ]

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
        recorder: GenerationRecorder,
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
            recorder: records the tokens.

        Raises:
            QueueFull: too many requests are waiting.
            InvalidRequest: a sequence is longer than the maximum.
        """
        deadline = time.monotonic() + request_timeout

        async def submit_request(name: str, request: EngineRequest, payload: Payload | None) -> GenerationHandle:
            with attribute_errors_to(name):
                return await backend.submit_request(request, payload)

        results = await asyncio.gather(  # concurrently: each submission waits for the current step
            *(
                submit_request(
                    name,
                    EngineRequest(prompt.token_ids, params, tenant, deadline, prompt.prompt_digest),
                    prompt.payload,
                )
                for name, prompt, prompt_params in zip(input_names, prompts, sampling_params, strict=True)
                for params in prompt_params
            ),
            return_exceptions=True,
        )
        if failures := [result for result in results if isinstance(result, BaseException)]:
            for result in results:
                if isinstance(result, GenerationHandle):
                    result.close()
            recorder.finish_request()
            raise failures[0]
        handles = [result for result in results if isinstance(result, GenerationHandle)]
        return cls(handles, prompts, model_name, request_timeout, recorder)

    @property
    def num_generations(self) -> int:
        """Number of generations."""
        return len(self._handles)

    @property
    def usage(self) -> CompletionUsage:
        """Token counts so far."""
        prompt_tokens, completion_tokens = self._recorder.prompt_tokens, self._recorder.completion_tokens
        return CompletionUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._count_cached_tokens()),
        )

    async def iter_chunks(self) -> AsyncIterator[OutputChunk]:
        """Yield the chunks of all responses as they are generated.

        Raises:
            RequestError: a generation failed or took too long.
        """
        async for index, output in merge_outputs(self._handles):
            finish_reason = None
            if output.finish_reason is not None:
                self._check_finish_reason(output.finish_reason)
                finish_reason = FINISH_REASONS.get(output.finish_reason, "stop")
            if output.token_id is not None:
                self._recorder.record_token(index)
            trimmer = self._trimmers[index]
            text = output.text if trimmer is None else trimmer.push_text(output.text)
            yield OutputChunk(index, text, output, finish_reason)

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
        self._recorder.finish_request()

    def __enter__(self) -> GenerationGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_finish_reason(self, finish_reason: FinishReason) -> None:
        """Raise the error of a generation that ended without a complete response."""
        match finish_reason:
            case FinishReason.TIMEOUT:
                raise RequestTimeout(self._request_timeout)
            case FinishReason.NON_FINITE:
                raise NonFiniteResponse(self.model_name)
            case FinishReason.GRAMMAR_DEAD_END:
                raise GrammarFailed

    def _count_cached_tokens(self) -> int:
        """Count the text tokens from the prefix cache; for a text with several responses, those of the first."""
        return sum(
            prompt.count_text_tokens(handle.cached_tokens)
            for prompt, handle in zip(self._prompts, self._handles[:: self._n], strict=True)
        )
