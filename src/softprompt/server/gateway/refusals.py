"""What goes wrong behind the gateway, in OpenAI's words. What it was stands in the log alone."""

from __future__ import annotations

from softprompt.server.failures import NO_RETRY, SERVER
from softprompt.server.refusal import Refusal

LONGEST = 300  # characters of what vLLM says of a request


class NoReplica(Refusal):
    """None of the replicas can be used now."""

    def __init__(self) -> None:
        message = "No engine is there to answer: try again in a moment."
        super().__init__(503, message, kind=SERVER, code="no_replica", headers={"retry-after": "2"})


class ReplicaFailed(Refusal):
    """All replicas that there were failed at it."""

    def __init__(self) -> None:
        message = "The engine failed to answer this request: try again in a moment."
        super().__init__(502, message, kind=SERVER, code="replica_failed", headers={"retry-after": "2"})


class BrokenOff(Refusal):
    """A response broke off, and no other replica went on with it as it had begun."""

    def __init__(self) -> None:
        message = "The engine that wrote this answer has gone away in the middle of it: ask again."
        super().__init__(502, message, kind=SERVER, code="replica_lost")


class Unavailable(Refusal):
    """The guards in the replicas do not let a prompt be used."""

    def __init__(self) -> None:
        message = "The engines behind this server cannot use this prompt: its operator finds the reason in the log."
        super().__init__(503, message, kind=SERVER, param="model", code="prompt_unavailable", headers=NO_RETRY)


def not_taken(message: str) -> Refusal:
    """Something about the request that no replica takes."""
    return Refusal(400, f"The engine does not take this request: {message[:LONGEST]}")


def like_a_prompt() -> Refusal:
    """A text of the bare base's that begins as what holds a prompt's place does."""
    return Refusal(400, "A text that begins with two tokens 0 is not answered here.", param="prompt")


def not_compiled() -> Refusal:
    """The prompt is no prefix."""
    return Refusal(
        400,
        "This prompt is stored as embeddings, and the engines behind this server take compiled prompts alone: "
        "compile it to a prefix and add it again.",
        param="model",
        code="prompt_not_compiled",
    )


def trained_head() -> Refusal:
    """The prompt's labels are read by a head."""
    return Refusal(
        400,
        "This prompt reads its answers with a trained head, which the engines behind this server do not have: it "
        "needs a server with the embedded engine, or to be trained without a head.",
        param="model",
        code="trained_head",
    )
