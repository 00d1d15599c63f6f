"""The scheduler's side of the connector: tracks the prompts of requests, and rejects requests.

A prompt that the workers do not have in RAM is loaded asynchronously: other requests continue, and if the prompt is
unreadable the request ends before its first token. Prompts in RAM are written in the step that needs them. The
scheduler cannot see the workers' caches, but it knows their size, and which prompts they loaded last.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from vllm.logger import init_logger

from softprompt.unicode_text import escape_controls
from softprompt.vllm.connector_metadata import PrefixLoadSpec, SoftpromptConnectorMetadata
from softprompt.vllm.host_prefix_cache import ConnectorCounters
from softprompt.vllm.request_rejection import RequestInfo, find_rejection_reason
from softprompt.vllm_protocol import PLUGIN_NAME, PromptTransferParams, parse_kv_transfer_params

logger = init_logger(f"vllm.{__name__}")  # vLLM configures loggers under this name


class SoftpromptConnectorScheduler:
    """Tracker of requests from arrival to completion. The public methods implement vLLM's hooks.

    Args:
        max_cached_positions: number of positions whose keys and values fit into a worker's cache.

    Attributes:
        counters: counters of rejected requests.
    """

    def __init__(self, max_cached_positions: int) -> None:
        self.counters, self._max_cached_positions = ConnectorCounters(), max_cached_positions
        self._params: dict[str, PromptTransferParams] = {}
        self._rejected: set[str] = set()
        self._expected_tokens: dict[str, int] = {}
        self._loading: dict[str, PromptTransferParams] = {}
        self._loaded: OrderedDict[str, int] = OrderedDict()  # positions by digest, the least recently used first
        self._num_loaded_positions = 0
        self._metadata = SoftpromptConnectorMetadata()

    def on_new_request(self, request: Any) -> None:
        """Check a new request, and reject it or remember its prompt."""
        reason = find_rejection_reason(_get_request_info(request))
        if reason is not None:
            logger.warning(
                "softprompt: rejected request %s: %s",
                escape_controls(str(request.request_id), ""),
                escape_controls(reason, ""),
            )
            self.counters.requests_rejected += 1
            self._rejected.add(request.request_id)
        elif (params := parse_kv_transfer_params(request.kv_transfer_params)) is not None:
            self._params[request.request_id] = params
            _salt_block_hashes(request, params)

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        """Return how many positions the connector adds to the computed ones, and whether it loads them async."""
        if request.request_id in self._rejected:
            # Claim all tokens of a rejected request: it then waits for a load, which fails. Otherwise vLLM computes it.
            request.skip_reading_prefix_cache = False
            return self._expect_tokens(request, request.num_tokens - num_computed_tokens), True
        params = self._params.get(request.request_id)
        if params is None:
            return 0, False
        num_missing = self._expect_tokens(request, max(params.num_positions - num_computed_tokens, 0))
        return num_missing, num_missing > 0 and params.digest not in self._loaded

    def update_state_after_alloc(self, request: Any, block_ids: list[int], num_external_tokens: int) -> None:
        """Plan the load of a request whose blocks are allocated.

        Raises:
            RuntimeError: vLLM expects another number of positions than the connector reported. To continue would
                compute placeholders.
        """
        request_id = request.request_id
        num_expected = self._expected_tokens.pop(request_id, 0)
        if num_external_tokens != num_expected:
            raise RuntimeError(
                f"vLLM expects {num_external_tokens} positions of request {request_id} instead of {num_expected}: "
                "stopping, because placeholders would be computed as text"
            )
        if not num_external_tokens:
            return
        if request_id in self._rejected:
            self._metadata.rejected_request_ids.append(request_id)
            return
        params = self._params[request_id]
        load = PrefixLoadSpec(request_id, params, params.num_positions - num_external_tokens, block_ids)
        if params.digest in self._loaded:
            self._loaded.move_to_end(params.digest)
            self._metadata.sync_loads.append(load)
        else:
            self._loading[request_id] = params
            self._metadata.async_loads.append(load)

    def build_connector_meta(self) -> SoftpromptConnectorMetadata:
        """Return the loads of the planned step for the workers."""
        metadata, self._metadata = self._metadata, SoftpromptConnectorMetadata()
        return metadata

    def update_connector_output(self, finished_recving: set[str], failed_recving: set[str]) -> None:
        """Record the finished loads of the workers."""
        for request_id in finished_recving:
            params = self._loading.pop(request_id, None)
            if params is not None and request_id not in failed_recving:
                self._remember_loaded(params)

    def _remember_loaded(self, params: PromptTransferParams) -> None:
        """Record that the workers have loaded a prompt, and forget those that they have evicted for it."""
        self._forget_loaded(params.digest)
        self._loaded[params.digest] = params.num_positions
        self._num_loaded_positions += params.num_positions
        while self._num_loaded_positions > self._max_cached_positions and len(self._loaded) > 1:
            self._forget_loaded(next(iter(self._loaded)))

    def _forget_loaded(self, digest: str) -> None:
        self._num_loaded_positions -= self._loaded.pop(digest, 0)

    def request_finished(self, request: Any, *, is_error: bool) -> dict[str, Any] | None:
        """Forget a finished request, and return the `kv_transfer_params` of its response."""
        request_id = request.request_id
        params = self._params.pop(request_id, None)
        self._rejected.discard(request_id)
        self._expected_tokens.pop(request_id, None)
        if params is None:
            return None
        if is_error:
            self.counters.requests_rejected += 1
            self._forget_loaded(params.digest)  # the next request loads async, so an error ends it before it starts
        return params.to_kv_transfer_params()

    def _expect_tokens(self, request: Any, num_tokens: int) -> int:
        self._expected_tokens[request.request_id] = num_tokens
        return num_tokens


def _get_request_info(request: Any) -> RequestInfo:
    return RequestInfo(
        request.kv_transfer_params,
        request.prompt_token_ids if request.prompt_embeds is None else None,
        skips_prefix_cache=request.skip_reading_prefix_cache,
        has_lora=request.lora_request is not None,
        has_multimodal=bool(request.mm_features),
        is_resumable=request.resumable,
    )


def _salt_block_hashes(request: Any, params: PromptTransferParams) -> None:
    """Add the prompt's digest to the salt of a request's block hashes, so that prompts share no blocks."""
    request.cache_salt = f"{PLUGIN_NAME}:{params.digest}:{request.cache_salt or ''}"
    request.block_hashes.clear()
    request.update_block_hashes()
