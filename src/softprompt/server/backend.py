"""What answers: the seam between the server and whoever runs the model.

There are two: `Embedded`, the engine in this process, and `gateway.Remote`, vLLM in others. Which one it is is chosen
once, where the server is put together; nobody else asks. A backend knows no HTTP towards clients and no names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from softprompt.engine import Request, Written
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.server.metrics import Metrics
from softprompt.server.refusal import Refusal
from softprompt.server.settings import ServerSettings
from softprompt.server.shelved import Shelved
from softprompt.tasks import Row as Text

Hear = Callable[[Written | Refusal], None]
"""Is told on the event loop of each token of a response, or of the refusal that ended it."""


@runtime_checkable
class Row(Protocol):
    """A response that is being written."""

    @property
    def reused(self) -> int:
        """How many tokens of its text were not read, since they had been in another row."""

    def close(self) -> None:
        """Nobody wants it any more: its room is free at once. If it is over, nothing happens."""


@runtime_checkable
class Backend(Protocol):
    """Whoever runs the model."""

    @property
    def length(self) -> int:
        """Positions that a row may have."""

    @property
    def is_alive(self) -> bool:
        """It has not failed for good."""

    @property
    def closed(self) -> Refusal | None:
        """Why it takes no requests now; None if it does."""

    async def start(self) -> None:
        """Begin; news goes to the loop that runs now."""

    def drain(self) -> None:
        """Take nothing new from now on; what runs goes on."""

    async def stop(self) -> None:
        """Take nothing new, and end what still runs."""

    def check(self, prompt: SavedPrompt) -> None:
        """Look whether a prompt is of a kind that can be used here.

        Raises:
            Refusal: it is not.
        """

    async def verify(self, prompt: SavedPrompt, name: str, tenant: str) -> None:
        """Try a tenant's prompt on the model, where that is here: nothing where it is elsewhere.

        Raises:
            OverflowingPrompt: the model's logits behind it are not finite.
            Refusal: too many wait.
        """

    async def bind(self, prompt: SavedPrompt, tenant: str) -> Shelved:
        """Make a prompt of a tenant's ready.

        Raises:
            Refusal: it cannot be used here, or too many wait to be made ready.
            SoftPromptError: it is for another base model, or its task cannot be put on this one.
        """

    async def begin(self, request: Request, payload: Payload | None, hear: Hear) -> Row:
        """Let a request be answered; `hear` is told of each token, the last one included.

        Raises:
            SettingError: it is longer than a row may be.
            Refusal: too many wait, or nobody answers.
        """

    async def label(self, shelved: Shelved, texts: Sequence[Text], tenant: str) -> list[list[float]]:
        """The log-probabilities of a classification's labels, for each of several texts; NaN where logits overflow.

        Raises:
            Refusal: too many wait, or nobody answers.
        """


Opening = Callable[[ServerSettings, FrozenModel, Metrics], Backend]
"""Makes a backend of a server's settings, its model, and what counts."""
