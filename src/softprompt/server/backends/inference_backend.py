"""Interface between the HTTP server and an inference backend.

There are two implementations: `EngineBackend`, the engine in this process, and `VllmBackend`, vLLM in other processes.
The choice is made once, where the server is assembled. A backend knows neither clients' HTTP nor prompt names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from softprompt.engine import EngineRequest
from softprompt.model import FrozenModel, Payload
from softprompt.saved import SavedPrompt
from softprompt.server.backends.generation_handle import GenerationHandle
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.server_config import ServerConfig
from softprompt.server.server_metrics import ServerMetrics
from softprompt.tasks import EncodedExample


@runtime_checkable
class InferenceBackend(Protocol):
    """The interface of a backend that runs the model."""

    @property
    def max_model_len(self) -> int:
        """Maximum positions of a sequence."""

    @property
    def is_alive(self) -> bool:
        """Whether the backend has not failed permanently."""

    def check_available(self) -> None:
        """Check that the backend accepts requests.

        Raises:
            ServerShuttingDown: the server is shutting down.
            NoHealthyReplica: no replica is healthy.
        """

    async def start(self) -> None:
        """Start the backend; outputs arrive on the current event loop."""

    def drain(self) -> None:
        """Reject new requests from now on; running ones continue."""

    async def stop(self) -> None:
        """Reject new requests and end the running ones."""

    def validate_prompt(self, prompt: SavedPrompt) -> None:
        """Check that the backend supports the kind of a prompt.

        Raises:
            InvalidRequest: the backend does not support the prompt.
        """

    async def verify_prompt(self, prompt: SavedPrompt, name: str, tenant: str) -> None:
        """Run the model once with a tenant's prompt. No-op if the model runs in another process.

        Raises:
            NonFiniteOutput: the model's logits after the prompt are not finite.
            QueueFull: too many requests are waiting.
        """

    async def load_prompt(self, prompt: SavedPrompt, tenant: str) -> LoadedPrompt:
        """Load a prompt of a tenant: compile its payload and bind its task to the model.

        Raises:
            InvalidRequest: the backend does not support the prompt.
            QueueFull: too many prompts are waiting.
            SoftPromptError: the prompt is for another base model, or the model does not support the task.
        """

    async def submit_request(self, request: EngineRequest, payload: Payload | None) -> GenerationHandle:
        """Submit a request. Its outputs have the same form on every backend.

        Raises:
            SettingError: the sequence is longer than the maximum.
            QueueFull: too many requests are waiting.
            NoHealthyReplica: no replica is healthy.
        """

    async def score_labels(
        self, loaded_prompt: LoadedPrompt, examples: Sequence[EncodedExample], tenant: str
    ) -> list[list[float]]:
        """Return the log-probabilities of the labels for each example; NaN where logits are not finite.

        Raises:
            QueueFull: too many requests are waiting.
            NoHealthyReplica: no replica is healthy.
        """


BackendFactory = Callable[[ServerConfig, FrozenModel, ServerMetrics], InferenceBackend]
"""Creates a backend from the server's configuration, the base model and the metrics."""
