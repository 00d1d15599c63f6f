"""A response of a replica, with the same outputs as the engine's, and with failover to other replicas."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from softprompt.engine import EngineRequest, FinishReason, TokenOutput
from softprompt.sampling.stop_aware_detokenizer import StopAwareDetokenizer
from softprompt.server.backends.generation_handle import GenerationHandle
from softprompt.server.backends.vllm import replica_request_body
from softprompt.server.backends.vllm.replica_client import ReplicaClient
from softprompt.server.backends.vllm.replica_pool import ReplicaPool
from softprompt.server.backends.vllm.replica_response_parser import (
    CompletionDelta,
    GrammarDeadEnd,
    NonFiniteLogits,
    OutputToken,
    ReplicaConnectionError,
    ReplicaStatusError,
    get_cached_tokens,
    parse_delta,
)
from softprompt.server.backends.vllm.shared_step_limit import count_step_tokens
from softprompt.server.concurrency.fair_semaphore import FairSemaphore, SlotLease
from softprompt.server.request_errors import InferenceFailed, InvalidRequest, RequestError, StreamInterrupted

logger = logging.getLogger(__name__)


class FailoverStream(GenerationHandle):
    """A running response of a replica.

    If the replica fails, another one generates the response again from its beginning. Tokens that were already emitted
    are compared and not emitted again, so the client notices nothing. If a token differs, the response ends with an
    error. The same seed gives the same tokens except for rounding.

    Args:
        request: request to the engine.
        num_prefix_positions: positions of the soft prompt in front of the text.
        replica_pool: replicas that can run the request.
        semaphore: admits the request when it is its tenant's turn.
        decode: decodes token ids to text.
        eos_token_ids: ids of the end tokens.

    Attributes:
        tenant: tenant of the request.
    """

    def __init__(
        self,
        request: EngineRequest,
        num_prefix_positions: int,
        replica_pool: ReplicaPool,
        semaphore: FairSemaphore,
        decode: Callable[[list[int]], str],
        eos_token_ids: Sequence[int],
    ):
        super().__init__()
        self._request, self._num_prefix_positions = request, num_prefix_positions
        self._replica_pool, self._semaphore = replica_pool, semaphore
        self.tenant, self._cached_tokens = request.tenant, 0
        self._body = replica_request_body.build_completion_body(request, num_prefix_positions, eos_token_ids)
        self._eos_token_ids = () if request.sampling.ignore_eos else eos_token_ids
        self._routing_key = replica_request_body.make_routing_key(
            request.tenant, replica_request_body.strip_digest_prefix(request.prompt_digest or "")
        )
        self._num_first_step_tokens = count_step_tokens(len(request.prompt_token_ids))
        self._detokenizer = StopAwareDetokenizer(decode, request.sampling.stop)
        self._emitted_token_ids: list[int] = []
        self._task = asyncio.create_task(self._run())

    @property
    def cached_tokens(self) -> int:
        """Number of prompt tokens from the replica's prefix cache; known at the end."""
        return self._cached_tokens

    def close(self) -> None:
        """Cancel the response: closing its stream stops the replica."""
        self._task.cancel()

    def abort_with(self, error: RequestError) -> None:
        """End the response with an error, unless it has finished."""
        if not self._task.done():
            self.push_output(error)
            self._task.cancel()

    def add_done_callback(self, callback: Callable[[FailoverStream], None]) -> None:
        """Add a callback for the end of the response, successful or not."""
        self._task.add_done_callback(lambda _: callback(self))

    async def _run(self) -> None:
        try:
            await self._run_with_deadline()
        except RequestError as error:
            is_interrupted = bool(self._emitted_token_ids) and not isinstance(error, InvalidRequest)
            self.push_output(StreamInterrupted() if is_interrupted else error)
        except NonFiniteLogits:
            self.push_output(TokenOutput(None, "", FinishReason.NON_FINITE))
        except GrammarDeadEnd:
            self.push_output(TokenOutput(None, "", FinishReason.GRAMMAR_DEAD_END))
        except Exception:
            logger.exception("a response of a replica failed")
            self.push_output(InferenceFailed())

    async def _run_with_deadline(self) -> None:
        try:
            async with (
                asyncio.timeout_at(self._request.deadline) as scope,
                self._semaphore.acquire_slots(self.tenant, load=self._num_first_step_tokens) as lease,
            ):
                await self._replica_pool.run_with_failover(
                    self._routing_key, lambda replica: self._stream_from(replica, lease)
                )
        except TimeoutError:
            if not scope.expired():
                raise
            self.push_output(TokenOutput(None, self._detokenizer.flush_text(), FinishReason.TIMEOUT))

    async def _stream_from(self, replica: ReplicaClient, lease: SlotLease) -> None:
        """Generate the whole response with one replica, in a slot whose load is the sequence's tokens in a step.

        Raises:
            ReplicaConnectionError, ReplicaStatusError: the replica failed; another one may succeed.
            GrammarDeadEnd, StreamInterrupted: the response ends.
        """
        lease.set_load(self._num_first_step_tokens)  # every replica computes the whole text
        replayed_token_ids, final_output = iter(self._emitted_token_ids[:]), None
        last_token_time: float | None = None
        try:
            async with replica.stream_completion(self._body, lambda: lease.load) as events:
                async for event in events:
                    delta = parse_delta(event, self._request.sampling.logprobs)
                    if delta is None:
                        self._cached_tokens = max(0, get_cached_tokens(event) - self._num_prefix_positions)
                    elif final_output is None:
                        lease.set_load(1)
                        last_token_time = self._observe_step(replica, last_token_time, len(delta.tokens))
                        final_output = self._emit_new_tokens(delta, replayed_token_ids)
                    if self._detokenizer.is_stopped:
                        break
        except ReplicaConnectionError:
            if final_output is None:
                raise
        except ReplicaStatusError as error:
            # vLLM ends a response with an internal error if its grammar fails, on every replica.
            if self._request.sampling.grammar is None or not error.is_internal_error:
                raise
            logger.warning("replica %s could not follow a grammar", replica.url)
            raise GrammarDeadEnd from error
        if final_output is None:
            raise ReplicaConnectionError("the stream ended before the response did")
        self.push_output(final_output)

    def _observe_step(self, replica: ReplicaClient, last_token_time: float | None, num_tokens: int) -> float:
        """Update the replica's limit on a step with the duration of its last one.

        Args:
            replica: replica that generated the tokens.
            last_token_time: time of the previous token, in seconds; None before the first one.
            num_tokens: number of tokens since then.

        Returns:
            The time now.
        """
        now = time.monotonic()
        if last_token_time is not None and num_tokens:
            seconds = (now - last_token_time) / num_tokens
            if replica.step_limit.is_new_step(seconds):  # counting the tokens takes time for each sequence
                replica.step_limit.observe_step(max(1, replica.step_tokens), seconds)
                self._semaphore.admit_waiters()  # the limit may have grown
        return now

    def _emit_new_tokens(self, delta: CompletionDelta, replayed_token_ids: Iterator[int]) -> TokenOutput | None:
        """Emit the new tokens of a delta; the final output is returned instead of emitted.

        Args:
            delta: next tokens of the replica.
            replayed_token_ids: tokens that were emitted before this replica, which it has yet to repeat.

        Raises:
            StreamInterrupted: the replica generates other tokens than before.
        """
        for num_following, token in zip(range(len(delta.tokens) - 1, -1, -1), delta.tokens, strict=True):
            if (previous_id := next(replayed_token_ids, None)) is None:
                output = self._make_output(token, None if num_following else delta.finish_reason)
                if output.finish_reason is not None:
                    return output
                self.push_output(output)
            elif previous_id != token.token_id:
                raise StreamInterrupted
        if delta.finish_reason is None:
            return None
        if next(replayed_token_ids, None) is not None:
            raise StreamInterrupted
        return TokenOutput(None, self._detokenizer.flush_text(), delta.finish_reason)

    def _make_output(self, token: OutputToken, finish_reason: FinishReason | None) -> TokenOutput:
        """Convert a token to an output with its text."""
        is_end_token = finish_reason is FinishReason.STOP and token.token_id in self._eos_token_ids
        # An end token has no text.
        text = "" if is_end_token else self._detokenizer.push_token(token.token_id)
        self._emitted_token_ids.append(token.token_id)
        if self._detokenizer.is_stopped:
            finish_reason = FinishReason.STOP
        if finish_reason is not None:
            text += self._detokenizer.flush_text()
        return TokenOutput(token.token_id, text, finish_reason, token.logprob, token.top_logprobs)
