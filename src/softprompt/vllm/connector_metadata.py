"""What vLLM's scheduler tells its workers in a step: which prefixes go where, and which requests are at an end."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorMetadata

from softprompt.vllm_protocol import PromptTransferParams


@dataclass
class PrefixLoadSpec:
    """Positions of a prefix that a request has no keys and values of yet: those from `first` on.

    Attributes:
        request: its name.
        asked: the prompt.
        first: how many positions vLLM's prefix cache has.
        blocks: the request's, from its first position on.
    """

    request_id: str
    params: PromptTransferParams
    first_position: int
    block_ids: list[int]


@dataclass
class SoftpromptConnectorMetadata(KVConnectorMetadata):
    """Those of a step.

    Attributes:
        now: what this step's tokens are to see.
        later: what requests wait for, which have no tokens in a step before it is there.
        refused: names of requests that are to end without an answer.
    """

    sync_loads: list[PrefixLoadSpec] = field(default_factory=list)
    async_loads: list[PrefixLoadSpec] = field(default_factory=list)
    rejected_request_ids: list[str] = field(default_factory=list)
