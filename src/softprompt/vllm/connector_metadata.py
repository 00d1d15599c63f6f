"""The messages from the connector's scheduler side to its workers: the loads of a step."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorMetadata

from softprompt.vllm_protocol import PromptTransferParams


@dataclass
class PrefixLoadSpec:
    """The load of a prefix for one request, from `first_position` on.

    Attributes:
        request_id: id of the request.
        params: the request's prompt.
        first_position: number of positions that vLLM's prefix cache has already.
        block_ids: the request's blocks, from its first position on.
    """

    request_id: str
    params: PromptTransferParams
    first_position: int
    block_ids: list[int]


@dataclass
class SoftpromptConnectorMetadata(KVConnectorMetadata):
    """The loads of a step.

    Attributes:
        sync_loads: loads that must complete before the step.
        async_loads: loads of waiting requests, which have no tokens in this step.
        rejected_request_ids: requests to end without a response.
    """

    sync_loads: list[PrefixLoadSpec] = field(default_factory=list)
    async_loads: list[PrefixLoadSpec] = field(default_factory=list)
    rejected_request_ids: list[str] = field(default_factory=list)
