"""Schemas of the endpoints that only the playground uses."""

from __future__ import annotations

from softprompt.server.prompts.usage_tracker import VersionUsage
from softprompt.server.schemas.field_types import StrictModel


class UsageSummary(StrictModel):
    """The usage of a version since the server started.

    Attributes:
        num_requests: completed requests.
        prompt_tokens: prompt tokens of all requests.
        completion_tokens: generated tokens of all requests.
        mean_ttft_seconds: mean seconds from a request to its first token; None before the first token.
    """

    num_requests: int
    prompt_tokens: int
    completion_tokens: int
    mean_ttft_seconds: float | None

    @classmethod
    def from_usage(cls, usage: VersionUsage) -> UsageSummary:
        """Create a summary of the current counts."""
        mean = usage.ttft_seconds / usage.ttft_count if usage.ttft_count else None
        return cls(
            num_requests=usage.num_requests,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            mean_ttft_seconds=mean,
        )


class PlaygroundState(StrictModel):
    """The base model, and the usage of the tenant's versions.

    Attributes:
        base_model: name of the base model.
        has_chat_template: whether the base model has a chat template.
        usage: usage by version (`reviews@3`), and of the base model under its own name.
    """

    base_model: str
    has_chat_template: bool
    usage: dict[str, UsageSummary]


class PromptDetails(StrictModel):
    """The parts of a version's manifest that the playground shows.

    Attributes:
        model: version, such as `reviews@3`.
        base_model: base model that the prompt was trained on.
        is_compatible: whether this server runs that base model.
        task: kind of the prompt's task.
        fields: fields of the task's template; empty for a chat.
        method: method that trained the prompt.
        num_virtual_tokens: number of virtual tokens, P.
        validation_metrics: metrics on the validation data.
    """

    model: str
    base_model: str
    is_compatible: bool
    task: str
    fields: tuple[str, ...]
    method: str
    num_virtual_tokens: int
    validation_metrics: dict[str, float]
