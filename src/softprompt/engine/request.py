"""Requests to the engine. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.sampling.sampling_params import SamplingParams


@dataclass(frozen=True)
class EngineRequest:
    """Request to continue one sequence.

    Attributes:
        prompt_token_ids: token ids of the prompt; negative ids are placeholders of virtual tokens.
        sampling: sampling parameters.
        tenant: tenant that the request belongs to; tenants share the engine fairly.
        deadline: time on the engine's clock at which the request is stopped; None for no deadline.
        prompt_digest: digest of the payload. Later requests of the tenant with the same digest may use the cached
            keys and values of a common text prefix. None disables prefix caching.
    """

    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    tenant: str = ""
    deadline: float | None = None
    prompt_digest: str | None = None
