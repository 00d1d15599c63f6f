"""Ask an OpenAI-compatible API: a few requests at once, nothing twice, and what it has cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from anyio import create_task_group
from anyio.from_thread import start_blocking_portal
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from softprompt.comparison.ways.api.address import NO_KEY, Address
from softprompt.comparison.ways.api.answered import Answered
from softprompt.comparison.ways.api.answers import Answer, api_errors
from softprompt.comparison.ways.api.limits import Limits
from softprompt.comparison.ways.api.spoken import Conversation


class Api:
    """A model behind an API, and what it has answered so far."""

    def __init__(self, address: Address, model: str, limits: Limits, answered: Answered):
        self.address, self.model, self.limits, self.answered = address, model, limits, answered
        self._answers: dict[Conversation, Answer] = {}

    def ask(self, conversations: Sequence[Conversation], max_tokens: int) -> list[str]:
        """What is answered to each conversation, in at most that many tokens.

        What was answered before is not asked again, even to another process that then failed. The first request that
        fails ends the others that are under way.

        Raises:
            ApiFailed: one was not answered.
        """
        wanted = [each for each in dict.fromkeys(conversations) if each not in self._answers]
        before = {each: self.answered.find(each, max_tokens) for each in wanted}
        self._answers |= {each: answer for each, answer in before.items() if answer is not None}
        if new := [each for each in wanted if each not in self._answers]:
            self._ask_new(new, max_tokens)
        return [self._answers[each].text for each in conversations]

    def calls(self, unreadable: int) -> dict[str, Any]:
        """What was asked so far; None for what the API does not tell."""
        answers = self._answers.values()
        return {
            "requests": len(answers),
            "retries": sum(answer.retries for answer in answers),
            "unreadable": unreadable,
            "prompt_tokens": _total(answer.prompt_tokens for answer in answers),
            "completion_tokens": _total(answer.completion_tokens for answer in answers),
        }

    def _ask_new(self, conversations: Sequence[Conversation], max_tokens: int) -> None:
        """Ask in a thread of their own: there may be an event loop in this one, as in a notebook."""
        try:
            with start_blocking_portal() as portal:
                portal.call(self._ask_all, conversations, max_tokens)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _ask_all(self, conversations: Sequence[Conversation], max_tokens: int) -> None:
        waiting = iter(conversations)

        async def ask_in_turn() -> None:
            for each in waiting:
                answer = self._answers[each] = await self._answer(client, each, max_tokens)
                self.answered.keep(each, max_tokens, answer)

        async with self._client() as client, create_task_group() as group:
            for _ in range(self.limits.at_once):
                group.start_soon(ask_in_turn)

    async def _answer(self, client: AsyncOpenAI, conversation: Conversation, max_tokens: int) -> Answer:
        messages: Any = [{"role": role, "content": content} for role, content in conversation]
        with api_errors(self.address, self.model):
            response = await client.chat.completions.with_raw_response.create(
                model=self.model, messages=messages, temperature=0, max_tokens=max_tokens
            )
        return Answer.read(response.http_response.text, response.retries_taken, self.address)

    def _client(self) -> AsyncOpenAI:
        """A client for one event loop. A proxy of the environment leads to other machines, never to this one."""
        return AsyncOpenAI(
            api_key=self.address.key or NO_KEY,
            base_url=self.address.url,
            max_retries=self.limits.tries - 1,
            timeout=self.limits.timeout,
            http_client=DefaultAsyncHttpxClient(timeout=self.limits.timeout, trust_env=not self.address.is_here),
        )


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum; None if one is not known."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)
