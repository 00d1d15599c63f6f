"""The fitted model of the API method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from softprompt.comparison.methods.api.task_prompter import TaskPrompter
from softprompt.comparison.methods.fitted_model import EvalResult, FittedModel
from softprompt.data import Example
from softprompt.model_api.conversation import Conversation

if TYPE_CHECKING:
    from softprompt.model_api.chat_client import ChatClient


class ApiFittedModel(FittedModel):
    """A model behind an API with the prompts of a task.

    `api_usage` counts requests, retries, unreadable replies and tokens of all examples so far.
    """

    def __init__(self, client: ChatClient, prompter: TaskPrompter, stored_bytes: int):
        self.client, self.prompter, self.stored_bytes = client, prompter, stored_bytes
        self.max_examples = prompter.max_examples
        self._unreadable: set[Conversation] = set()
        self.api_usage = client.get_usage(0)

    def evaluate(self, examples: Sequence[Example]) -> EvalResult:
        """Request a reply for each example and evaluate the replies.

        Raises:
            ModelApiError: a request failed.
        """
        selected = list(examples[: self.max_examples])
        conversations = [self.prompter.build_conversation(example) for example in selected]
        replies = self.client.get_replies(conversations, self.prompter.max_tokens)
        pairs = zip(conversations, replies, strict=True)
        self._unreadable |= {conversation for conversation, reply in pairs if not self.prompter.is_valid_reply(reply)}
        self.api_usage = self.client.get_usage(len(self._unreadable))
        return self.prompter.evaluate_replies(selected, replies)
