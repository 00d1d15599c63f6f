"""The scheduler's half of the connector: which requests stand behind what, and which are refused.

A prompt that no worker has read yet is waited for, between steps: meanwhile others go on, and if it cannot be read the
request ends before a token of it was computed. The others are put in place in the step that needs them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from vllm.logger import init_logger

from softprompt.unicode_text import escape_controls
from softprompt.vllm.connector_metadata import PrefixLoadSpec, SoftpromptConnectorMetadata
from softprompt.vllm.host_prefix_cache import ConnectorCounters
from softprompt.vllm.request_rejection import RequestInfo, find_rejection_reason
from softprompt.vllm_protocol import PromptTransferParams, parse_kv_transfer_params

logger = init_logger(f"vllm.{__name__}")  # under the name whose level and form vLLM sets

MAX_LOADED_DIGESTS = 100_000  # prompts of which it is remembered that they could be read


class SoftpromptConnectorScheduler:
    """Follows requests from when they come to when they are over.

    Attributes:
        counts: of refused requests.
    """

    def __init__(self) -> None:
        self.counters = ConnectorCounters()
        self._params: dict[str, PromptTransferParams] = {}
        self._rejected: set[str] = set()
        self._expected_tokens: dict[str, int] = {}
        self._loading: dict[str, str] = {}
        self._loaded: OrderedDict[str, None] = OrderedDict()
        self._metadata = SoftpromptConnectorMetadata()

    def on_new_request(self, request: Any) -> None:
        """A new request of vLLM's."""
        why = find_rejection_reason(_get_request_info(request))
        if why is not None:
            logger.warning(
                "softprompt: request %s is refused: %s",
                escape_controls(str(request.request_id), ""),
                escape_controls(why, ""),
            )
            self.counters.requests_rejected += 1
            self._rejected.add(request.request_id)
        elif (asked := parse_kv_transfer_params(request.kv_transfer_params)) is not None:
            self._params[request.request_id] = asked
            _salt_block_hashes(request, asked)

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        """How many positions the prefix cache lacks behind those `computed`, and whether they are waited for."""
        if request.request_id in self._rejected:
            # vLLM would ask no connector about it, and compute. It lacks all that it has, and waits for ever.
            request.skip_reading_prefix_cache = False
            return self._expect_tokens(request, request.num_tokens - num_computed_tokens), True
        asked = self._params.get(request.request_id)
        if asked is None:
            return 0, False
        lacks = self._expect_tokens(request, max(asked.num_positions - num_computed_tokens, 0))
        return lacks, lacks > 0 and asked.digest not in self._loaded

    def update_state_after_alloc(self, request: Any, block_ids: list[int], num_external_tokens: int) -> None:
        """A request has blocks, and vLLM takes `external` positions of it for granted.

        Raises:
            RuntimeError: other ones than those that it was told are missing. Going on would answer placeholders.
        """
        name = request.request_id
        promised = self._expected_tokens.pop(name, 0)
        if num_external_tokens != promised:
            raise RuntimeError(
                f"vLLM counts on {num_external_tokens} positions of {name} instead of {promised}: stopping"
            )
        if not num_external_tokens:
            return
        if name in self._rejected:
            self._metadata.rejected_request_ids.append(name)
            return
        asked = self._params[name]
        load = PrefixLoadSpec(name, asked, asked.num_positions - num_external_tokens, block_ids)
        if asked.digest in self._loaded:
            self._loaded.move_to_end(asked.digest)
            self._metadata.sync_loads.append(load)
        else:
            self._loading[name] = asked.digest
            self._metadata.async_loads.append(load)

    def build_connector_meta(self) -> SoftpromptConnectorMetadata:
        """What workers are to do in the step that was planned."""
        loads, self._metadata = self._metadata, SoftpromptConnectorMetadata()
        return loads

    def update_connector_output(self, finished_recving: set[str], failed_recving: set[str]) -> None:
        """What requests waited for is there, or cannot be read."""
        for name in finished_recving:
            content = self._loading.pop(name, None)
            if content is not None and name not in failed_recving:
                self._loaded[content] = None
                self._loaded.move_to_end(content)
        while len(self._loaded) > MAX_LOADED_DIGESTS:
            self._loaded.popitem(last=False)

    def request_finished(self, request: Any, *, is_error: bool) -> dict[str, Any] | None:
        """A request is over; what is said of it with its answer."""
        name = request.request_id
        asked = self._params.pop(name, None)
        self._rejected.discard(name)
        self._expected_tokens.pop(name, None)
        if asked is None:
            return None
        if is_error:
            self.counters.requests_rejected += 1
            self._loaded.pop(asked.digest, None)  # the next one waits, and meets what is wrong before it begins
        return asked.to_kv_transfer_params()

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
    """Name a request's blocks by its prompt as well, whatever salt it came with: no other's are taken for them."""
    request.cache_salt = f"softprompt:{params.digest}:{request.cache_salt or ''}"
    request.block_hashes.clear()
    request.update_block_hashes()
