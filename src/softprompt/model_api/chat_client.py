"""A client for an OpenAI-compatible chat API with concurrent requests, a cache of replies, and usage counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from anyio import create_task_group
from anyio.from_thread import start_blocking_portal
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from softprompt.model_api.api_counts import ApiCounts
from softprompt.model_api.api_endpoint import PLACEHOLDER_KEY, ApiEndpoint
from softprompt.model_api.api_reply import ApiReply
from softprompt.model_api.conversation import Conversation
from softprompt.model_api.openai_errors import translate_api_errors
from softprompt.model_api.reply_cache import ReplyCache
from softprompt.model_api.request_limits import RequestLimits


class ChatClient:
    """A client for one model of an API, with the replies so far."""

    def __init__(self, endpoint: ApiEndpoint, model: str, limits: RequestLimits, reply_cache: ReplyCache):
        self.endpoint, self.model, self.limits, self.reply_cache = endpoint, model, limits, reply_cache
        self._replies: dict[Conversation, ApiReply] = {}

    def get_replies(self, conversations: Sequence[Conversation], max_tokens: int) -> list[str]:
        """Return the reply to each conversation.

        Cached replies are not requested again, even if they are from an earlier process that failed. The first request
        that fails cancels the others.

        Args:
            conversations: messages of each request.
            max_tokens: largest number of tokens of a reply.

        Raises:
            ModelApiError: a request failed.
        """
        unknown = [item for item in dict.fromkeys(conversations) if item not in self._replies]
        cached = {item: self.reply_cache.get_reply(item, max_tokens) for item in unknown}
        self._replies |= {item: reply for item, reply in cached.items() if reply is not None}
        if missing := [item for item in unknown if item not in self._replies]:
            self._request_missing(missing, max_tokens)
        return [self._replies[item].text for item in conversations]

    def get_usage(self, num_unreadable: int) -> ApiCounts:
        """Return the usage so far, with None for token counts that the API does not report."""
        replies = self._replies.values()
        return ApiCounts(
            requests=len(replies),
            retries=sum(reply.retries for reply in replies),
            unreadable=num_unreadable,
            prompt_tokens=_sum_or_none(reply.prompt_tokens for reply in replies),
            completion_tokens=_sum_or_none(reply.completion_tokens for reply in replies),
        )

    def _request_missing(self, conversations: Sequence[Conversation], max_tokens: int) -> None:
        """Send requests from another thread: this one may already run an event loop, as in a notebook."""
        try:
            with start_blocking_portal() as portal:
                portal.call(self._request_all, conversations, max_tokens)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _request_all(self, conversations: Sequence[Conversation], max_tokens: int) -> None:
        queue = iter(conversations)

        async def drain_queue() -> None:
            for conversation in queue:
                reply = self._replies[conversation] = await self._request_reply(client, conversation, max_tokens)
                self.reply_cache.save_reply(conversation, max_tokens, reply)

        async with self._create_client() as client, create_task_group() as group:
            for _ in range(self.limits.max_concurrency):
                group.start_soon(drain_queue)

    async def _request_reply(self, client: AsyncOpenAI, conversation: Conversation, max_tokens: int) -> ApiReply:
        messages: Any = [{"role": role, "content": content} for role, content in conversation]
        with translate_api_errors(self.endpoint, self.model):
            response = await client.chat.completions.with_raw_response.create(
                model=self.model, messages=messages, temperature=0, max_tokens=max_tokens
            )
        return ApiReply.from_body(response.http_response.text, response.retries_taken, self.endpoint)

    def _create_client(self) -> AsyncOpenAI:
        """Create a client for one event loop. Proxies of the environment are not used for this machine."""
        return AsyncOpenAI(
            api_key=self.endpoint.key or PLACEHOLDER_KEY,
            base_url=self.endpoint.url,
            max_retries=self.limits.max_attempts - 1,
            timeout=self.limits.timeout,
            http_client=DefaultAsyncHttpxClient(timeout=self.limits.timeout, trust_env=not self.endpoint.is_loopback),
        )


def _sum_or_none(counts: Iterable[int | None]) -> int | None:
    """Return the sum, or None if a count is None."""
    values = list(counts)
    return None if None in values else sum(count or 0 for count in values)
