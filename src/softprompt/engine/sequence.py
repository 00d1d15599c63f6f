"""State of a request in the engine: its tokens, and how many of them are computed. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from softprompt.engine.request import EngineRequest


@dataclass(eq=False)
class EngineSequence:
    """Sequence of a request that waits or runs.

    Attributes:
        request: request that the sequence belongs to.
        prefix_length: positions of the soft prompt in front of the sequence.
        token_ids: token ids of the prompt, then of the response so far.
        num_computed_tokens: tokens whose keys and values are in the KV cache.
        num_cached_tokens: computed tokens that were taken from the prefix cache.
        slot: index of the slot in the KV cache; -1 while the sequence waits.
        num_tokens_since_admission: tokens generated since the sequence was given its slot.
        num_preemptions: number of times the slot was taken back.
        last_step: number of the last step that the sequence took part in.
    """

    request: EngineRequest
    prefix_length: int = 0
    token_ids: list[int] = field(init=False)
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    slot: int = -1
    num_tokens_since_admission: int = 0
    num_preemptions: int = 0
    last_step: int = 0

    def __post_init__(self) -> None:
        self.token_ids = list(self.request.prompt_token_ids)

    @property
    def tenant(self) -> str:
        """Tenant that the sequence belongs to."""
        return self.request.tenant

    @property
    def max_positions(self) -> int:
        """Maximum number of positions that the sequence may need. The last generated token is never computed."""
        return self.prefix_length + len(self.request.prompt_token_ids) + self.request.sampling.max_new_tokens - 1

    @property
    def output_token_ids(self) -> list[int]:
        """Token ids of the response so far."""
        return self.token_ids[len(self.request.prompt_token_ids) :]

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens that are not in the KV cache yet."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def is_decoding(self) -> bool:
        """Whether all tokens but the newest are computed: the prompt, and after a preemption also the response."""
        return self.num_computed_tokens >= max(len(self.request.prompt_token_ids), len(self.token_ids) - 1)


@runtime_checkable
class TenantOwned(Protocol):
    """Object that belongs to a tenant."""

    @property
    def tenant(self) -> str:
        """The tenant."""
        ...


T = TypeVar("T", bound=TenantOwned)


def group_by_tenant(items: Iterable[T]) -> dict[str, list[T]]:
    """Return the items of each tenant, in their order."""
    by_tenant: dict[str, list[T]] = {}
    for item in items:
        by_tenant.setdefault(item.tenant, []).append(item)
    return by_tenant
