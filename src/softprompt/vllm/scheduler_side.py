"""The scheduler's half of the connector: which requests stand behind what, and which are refused.

A prompt that no worker has read yet is waited for, between steps: meanwhile others go on, and if it cannot be read the
request ends before a token of it was computed. The others are put in place in the step that needs them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from vllm.logger import init_logger

from softprompt.unicode_text import escape_controls
from softprompt.vllm.asked import Asked, asked_in
from softprompt.vllm.guard import Arrived, why_refused
from softprompt.vllm.loads import Load, Loads
from softprompt.vllm.prefixes import Counts

logger = init_logger(f"vllm.{__name__}")  # under the name whose level and form vLLM sets

WARM = 100_000  # prompts of which it is remembered that they could be read


class SchedulerSide:
    """Follows requests from when they come to when they are over.

    Attributes:
        counts: of refused requests.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self._asked: dict[str, Asked] = {}
        self._refused: set[str] = set()
        self._promised: dict[str, int] = {}
        self._awaited: dict[str, str] = {}
        self._warm: OrderedDict[str, None] = OrderedDict()
        self._loads = Loads()

    def arrive(self, request: Any) -> None:
        """A new request of vLLM's."""
        why = why_refused(_arrived(request))
        if why is not None:
            logger.warning(
                "softprompt: request %s is refused: %s",
                escape_controls(str(request.request_id), ""),
                escape_controls(why, ""),
            )
            self.counts.refused += 1
            self._refused.add(request.request_id)
        elif (asked := asked_in(request.kv_transfer_params)) is not None:
            self._asked[request.request_id] = asked
            _salt(request, asked)

    def missing(self, request: Any, computed: int) -> tuple[int, bool]:
        """How many positions the prefix cache lacks behind those `computed`, and whether they are waited for."""
        if request.request_id in self._refused:
            # vLLM would ask no connector about it, and compute. It lacks all that it has, and waits for ever.
            request.skip_reading_prefix_cache = False
            return self._promise(request, request.num_tokens - computed), True
        asked = self._asked.get(request.request_id)
        if asked is None:
            return 0, False
        lacks = self._promise(request, max(asked.positions - computed, 0))
        return lacks, lacks > 0 and asked.content not in self._warm

    def allocate(self, request: Any, blocks: list[int], external: int) -> None:
        """A request has blocks, and vLLM takes `external` positions of it for granted.

        Raises:
            RuntimeError: other ones than those that it was told are missing. Going on would answer placeholders.
        """
        name = request.request_id
        promised = self._promised.pop(name, 0)
        if external != promised:
            raise RuntimeError(f"vLLM counts on {external} positions of {name} instead of {promised}: stopping")
        if not external:
            return
        if name in self._refused:
            self._loads.refused.append(name)
            return
        asked = self._asked[name]
        load = Load(name, asked, asked.positions - external, blocks)
        if asked.content in self._warm:
            self._warm.move_to_end(asked.content)
            self._loads.now.append(load)
        else:
            self._awaited[name] = asked.content
            self._loads.later.append(load)

    def step(self) -> Loads:
        """What workers are to do in the step that was planned."""
        loads, self._loads = self._loads, Loads()
        return loads

    def received(self, arrived: set[str], failed: set[str]) -> None:
        """What requests waited for is there, or cannot be read."""
        for name in arrived:
            content = self._awaited.pop(name, None)
            if content is not None and name not in failed:
                self._warm[content] = None
                self._warm.move_to_end(content)
        while len(self._warm) > WARM:
            self._warm.popitem(last=False)

    def finish(self, request: Any, *, is_error: bool) -> dict[str, Any] | None:
        """A request is over; what is said of it with its answer."""
        name = request.request_id
        asked = self._asked.pop(name, None)
        self._refused.discard(name)
        self._promised.pop(name, None)
        if asked is None:
            return None
        if is_error:
            self.counts.refused += 1
            self._warm.pop(asked.content, None)  # the next one waits, and meets what is wrong before it begins
        return asked.parameters()

    def _promise(self, request: Any, positions: int) -> int:
        self._promised[request.request_id] = positions
        return positions


def _arrived(request: Any) -> Arrived:
    return Arrived(
        request.kv_transfer_params,
        request.prompt_token_ids if request.prompt_embeds is None else None,
        reads_all=request.skip_reading_prefix_cache,
        has_adapter=request.lora_request is not None,
        has_media=bool(request.mm_features),
        goes_on=request.resumable,
    )


def _salt(request: Any, asked: Asked) -> None:
    """Name a request's blocks by its prompt as well, whatever salt it came with: no other's are taken for them."""
    request.cache_salt = f"softprompt:{asked.content}:{request.cache_salt or ''}"
    request.block_hashes.clear()
    request.update_block_hashes()
