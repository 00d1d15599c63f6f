"""The errors that end a request. Independent of HTTP: `exception_handlers.py` has the response of each.

RequestError
├── InvalidRequest                  request that cannot be served as it is
│   ├── ContextLengthExceeded       text and response that are longer than the context
│   ├── TooManySequences            more sequences than a tenant may ever have at once or in a minute
│   ├── IncompatiblePrompt          prompt of another base model
│   ├── WrongTask                   prompt of another task
│   ├── NoChatTemplate              chat with a base model that has no chat template
│   ├── PromptNotCompiled           prompt embeddings, which vLLM replicas do not run
│   ├── HeadNotSupported            prompt with a trained head, which vLLM replicas do not run
│   ├── NonFiniteResponse           prompt after which the model's logits are not finite
│   ├── GrammarFailed               response format that is too expensive, or allows no further token
│   ├── InvalidUpload               files that are not a prompt for this server
│   └── UploadTooLarge              files beyond a limit
├── InvalidApiKey                   missing or invalid API key
├── MissingScope                    API key without the required scope
├── UnknownModel                    name that neither the base model nor a prompt of the tenant has
├── RateLimitExceeded               tenant that has reached a rate limit
├── QueueFull                       too many waiting requests
├── RequestTimeout                  response that takes longer than the server allows
├── ServerShuttingDown              server that accepts no further requests
├── UnusablePrompt                  stored prompt whose files are missing, corrupt or too new
├── InferenceFailed                 unexpected failure of the model's thread or a replica
├── NoHealthyReplica                no replica that is healthy
├── AllReplicasFailed               request that all healthy replicas failed to process
├── StreamInterrupted               response that broke off and that no other replica could continue
└── PromptUnavailable               prompt that the plugin in the replicas rejects
"""

from __future__ import annotations

import math


class RequestError(Exception):
    """Base class of the errors that end a request.

    Args:
        message: problem and remedy, for the client.
        param: field of the request that caused the error, if any.

    Attributes:
        retry_after_s: seconds after which the request may be repeated; None for no advice.
    """

    retry_after_s: int | None = None

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.message, self.param = message, param

    def __str__(self) -> str:
        return self.message

    def attribute_to(self, input_name: str) -> None:
        """Name the text of the request that caused the error, such as `input.3`."""
        self.param = input_name
        if "." in input_name and not self.message.startswith(input_name):
            self.message = f"{input_name}: {self.message}"


class InvalidRequest(RequestError):
    """Request that cannot be served as it is."""


class ContextLengthExceeded(InvalidRequest):
    """Text that is, with its response, longer than the context."""


class TooManySequences(InvalidRequest):
    """Request that exceeds a limit by itself, so that a retry cannot succeed.

    Args:
        num_sequences: sequences of the request.
        limit: maximum sequences of a tenant.
        period: period of the limit, for the message.
    """

    def __init__(self, num_sequences: int, limit: int, period: str):
        super().__init__(
            f"{num_sequences} responses or texts in one request exceed the limit of {limit} {period}: request fewer."
        )


class IncompatiblePrompt(InvalidRequest):
    """Prompt that was trained on another base model than the server's."""

    def __init__(self, message: str):
        super().__init__(message, "model")


class WrongTask(InvalidRequest):
    """Prompt that was trained for another task than the request's."""

    def __init__(self, message: str):
        super().__init__(message, "model")


class NoChatTemplate(InvalidRequest):
    """Chat with a base model that has no chat template."""

    def __init__(self) -> None:
        super().__init__("The base model has no chat template: use /v1/completions.", "model")


class PromptNotCompiled(InvalidRequest):
    """Prompt that is stored as embeddings, which replicas do not run."""

    def __init__(self) -> None:
        message = (
            "This prompt is stored as embeddings, but the replicas support only compiled prompts: "
            "compile the prompt to a prefix and register the prefix."
        )
        super().__init__(message, "model")


class HeadNotSupported(InvalidRequest):
    """Prompt with a trained head, which replicas do not run."""

    def __init__(self) -> None:
        message = (
            "This prompt has a trained head, which the replicas do not support: use a server with the backend "
            "'engine', or train the prompt without a head."
        )
        super().__init__(message, "model")


class NonFiniteResponse(InvalidRequest):
    """Prompt after which the model's logits are not finite on the request's text."""

    def __init__(self, model_name: str):
        message = (
            f"`{model_name}` causes non-finite logits in the model on this text, so there is no response: "
            "use another version of the prompt, or train the prompt again with a lower learning rate."
        )
        super().__init__(message, "model")


class GrammarFailed(InvalidRequest):
    """Response format that is too expensive, or allows no further token."""

    def __init__(self) -> None:
        super().__init__(
            "The requested response format is too expensive, or allows no further token: request a simpler format."
        )


class InvalidUpload(InvalidRequest):
    """Uploaded files that are not a prompt that this server can use."""


class UploadTooLarge(InvalidRequest):
    """Uploaded files, or their labels, that exceed a limit."""

    def __init__(self, message: str):
        super().__init__(message, "file")


class InvalidApiKey(RequestError):
    """Missing or invalid API key; the message does not say which."""

    def __init__(self) -> None:
        super().__init__("missing or invalid API key: send one as 'Authorization: Bearer sp-…'")


class MissingScope(RequestError):
    """API key without the scope that a request needs."""

    def __init__(self, scope: str):
        super().__init__(f"this API key lacks the scope '{scope}'")


class UnknownModel(RequestError):
    """Unknown model; another tenant's prompt is reported in the same way."""

    def __init__(self, model_name: str):
        super().__init__(f"The model `{model_name}` does not exist or you do not have access to it.", "model")


class RateLimitExceeded(RequestError):
    """Tenant that has reached a rate limit.

    Args:
        problem: the limit that was reached, for the message.
        retry_after_s: seconds until the request may be repeated.
    """

    def __init__(self, problem: str, retry_after_s: float):
        self.retry_after_s = max(1, math.ceil(retry_after_s))
        super().__init__(f"{problem}: try again in {self.retry_after_s} s")


class QueueFull(RequestError):
    """Full queue of waiting requests."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("Too many requests are waiting: try again shortly.")


class RequestTimeout(RequestError):
    """Response that took longer than the server's request timeout."""

    def __init__(self, timeout_s: float):
        super().__init__(f"The response was not finished within {timeout_s:g} seconds: request fewer tokens.")


class ServerShuttingDown(RequestError):
    """Server that is shutting down: running requests finish, new ones are rejected."""

    retry_after_s = 5

    def __init__(self) -> None:
        super().__init__("The server is shutting down.")


class UnusablePrompt(RequestError):
    """Stored prompt whose files are missing, corrupt or too new."""

    def __init__(self, model_name: str):
        super().__init__(f"The stored files of `{model_name}` cannot be used: register the prompt again.", "model")


class InferenceFailed(RequestError):
    """Unexpected failure while the model ran. Its cause is only in the log."""

    def __init__(self) -> None:
        super().__init__("The server failed to process this request.")


class NoHealthyReplica(RequestError):
    """No healthy replica."""

    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__("No healthy inference replica is available: try again shortly.")


class AllReplicasFailed(RequestError):
    """Request that all healthy replicas failed to process. The causes are only in the log."""

    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__("The inference replicas failed to process this request: try again shortly.")


class StreamInterrupted(RequestError):
    """Response that broke off, and that no other replica could continue."""

    def __init__(self) -> None:
        super().__init__(
            "The replica of this response failed and no other replica could continue it: send the request again."
        )


class PromptUnavailable(RequestError):
    """Prompt that the plugin in the replicas rejects. The reason is only in the log."""

    def __init__(self) -> None:
        super().__init__("The replicas cannot use this prompt: the reason is in the server's log.", "model")
