"""An API that is ready to be measured. Imports openai, so it is imported only where it is used."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.comparison.way import Fitted, Measured
from softprompt.comparison.ways.api.asking import Api
from softprompt.comparison.ways.api.spoken import Conversation, Spoken
from softprompt.data import Example


class FittedApi(Fitted):
    """A task in words, and an API to put it to.

    `calls` is of all examples measured so far: requests, retries, unreadable replies and tokens.
    """

    def __init__(self, api: Api, task: Spoken, stored_bytes: int):
        self.api, self.task, self.stored_bytes = api, task, stored_bytes
        self.most = task.most
        self._unreadable: set[Conversation] = set()
        self.calls = api.calls(0)

    def measured(self, examples: Sequence[Example]) -> Measured:
        """What the API's replies are worth.

        Raises:
            ApiFailed: it did not answer.
        """
        some = list(examples[: self.most])
        conversations = [self.task.conversation(example) for example in some]
        replies = self.api.ask(conversations, self.task.max_tokens)
        pairs = zip(conversations, replies, strict=True)
        self._unreadable |= {conversation for conversation, reply in pairs if not self.task.is_readable(reply)}
        self.calls = self.api.calls(len(self._unreadable))
        return self.task.measured(some, replies)
