"""Errors of replicas in OpenAI's format. Their causes are only in the log."""

from __future__ import annotations

from softprompt.server.api_errors import ApiError
from softprompt.server.exception_handlers import NO_RETRY_HEADERS, SERVER_ERROR_TYPE

MAX_MESSAGE_CHARS = 300  # characters of vLLM's message


class NoHealthyReplica(ApiError):
    """No replica is healthy."""

    def __init__(self) -> None:
        message = "No healthy inference replica is available: try again shortly."
        super().__init__(
            503, message, error_type=SERVER_ERROR_TYPE, code="no_healthy_replica", headers={"retry-after": "2"}
        )


class AllReplicasFailed(ApiError):
    """All healthy replicas failed to process a request."""

    def __init__(self) -> None:
        message = "The inference replicas failed to process this request: try again shortly."
        super().__init__(
            502, message, error_type=SERVER_ERROR_TYPE, code="replica_failed", headers={"retry-after": "2"}
        )


class StreamInterrupted(ApiError):
    """A response broke off, and no other replica could continue it."""

    def __init__(self) -> None:
        message = "The replica of this response failed and no other replica could continue it: send the request again."
        super().__init__(502, message, error_type=SERVER_ERROR_TYPE, code="stream_interrupted")


class PromptUnavailable(ApiError):
    """The plugin in the replicas rejects the prompt."""

    def __init__(self) -> None:
        message = "The replicas cannot use this prompt: the reason is in the server's log."
        super().__init__(
            503,
            message,
            error_type=SERVER_ERROR_TYPE,
            param="model",
            code="prompt_unavailable",
            headers=NO_RETRY_HEADERS,
        )


def create_rejected_request_error(message: str) -> ApiError:
    """Create the error of a request that every replica would reject."""
    return ApiError(400, f"The replica rejected this request: {message[:MAX_MESSAGE_CHARS]}")


def create_ambiguous_prefix_error() -> ApiError:
    """Create the error of a base-model text that starts like the placeholders of a prompt."""
    return ApiError(
        400,
        "A text that starts with two tokens of id 0 is not supported by this server: change its beginning.",
        param="prompt",
    )


def create_uncompiled_prompt_error() -> ApiError:
    """Create the error of a prompt that is not compiled to a KV prefix."""
    return ApiError(
        400,
        "This prompt is stored as embeddings, but the replicas support only compiled prompts: "
        "compile the prompt to a prefix and register the prefix.",
        param="model",
        code="prompt_not_compiled",
    )


def create_unsupported_head_error() -> ApiError:
    """Create the error of a prompt with a trained head."""
    return ApiError(
        400,
        "This prompt has a trained head, which the replicas do not support: use a server with the backend 'engine', "
        "or train the prompt without a head.",
        param="model",
        code="head_not_supported",
    )
