"""A worker's half of the connector: puts keys and values into the slots of vLLM's cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from torch import Tensor
from vllm.logger import init_logger

from softprompt.errors import SoftPromptError
from softprompt.unicode_text import escape_controls
from softprompt.vllm.loads import Load, Loads
from softprompt.vllm.placing import blocks_of, layer_number, slots
from softprompt.vllm.prefixes import Prefixes

logger = init_logger(f"vllm.{__name__}")  # under the name whose level and form vLLM sets


class WorkerSide:
    """Places prefixes, and says of which requests that was not possible.

    Args:
        prefixes: this worker's share of each, `[L, 2, P, g, D]`.
        block_size: slots of a block.
    """

    def __init__(self, prefixes: Prefixes, block_size: int):
        self._prefixes, self._block_size = prefixes, block_size
        self._counts = prefixes.counts
        self._layers: Sequence[Any] = ()
        self._coming: dict[str, tuple[Load, Future[Tensor]]] = {}
        self._refused: set[str] = set()
        self._invalid: set[int] = set()

    def start(self, loads: Loads, layers: Mapping[str, Any]) -> None:
        """Begin what a step asks for.

        Args:
            loads: what it is.
            layers: vLLM's, by their names.
        """
        self._layers = self._layers or _attending(layers)
        self._refused.update(loads.refused)
        for load in loads.later:
            self._coming[load.request] = load, self._prefixes.coming(load.asked.content)
        for load in loads.now:
            if not self._place(load, self._prefixes.coming(load.asked.content)):
                self._invalid.update(blocks_of(load.first, load.asked.positions, load.blocks, self._block_size))

    def results(self) -> tuple[set[str], set[str]]:
        """The requests whose waiting is over, and those of them that cannot go on."""
        failed, self._refused = self._refused, set()
        done = {name: each for name, each in self._coming.items() if each[1].done()}
        for name, (load, prefix) in done.items():
            del self._coming[name]
            if not self._place(load, prefix):
                failed.add(name)
        return failed | done.keys(), failed

    def invalid(self) -> set[int]:
        """The blocks that were to hold what could not be read. A request that counts on one is ended by vLLM."""
        invalid, self._invalid = self._invalid, set()
        return invalid

    def _place(self, load: Load, coming: Future[Tensor]) -> bool:
        try:
            prefix = coming.result()
        except SoftPromptError as error:
            logger.error("softprompt: request %s ends: %s", _shown(load), error)
            return False
        except Exception:  # a store far away fails in its own ways; the engine must go on
            logger.exception("softprompt: request %s ends: its prompt %s cannot be read", _shown(load), load.asked)
            return False
        if prefix.shape[2] != load.asked.positions:
            logger.error("softprompt: request %s ends: its prompt has %d positions", _shown(load), prefix.shape[2])
            return False
        self._put(prefix[:, :, load.first :], load)
        return True

    def _put(self, prefix: Tensor, load: Load) -> None:
        places = slots(load.first, load.asked.positions, load.blocks, self._block_size)
        device = self._layers[0].kv_cache.device
        prefix, places = prefix.to(device, non_blocking=True), places.to(device, non_blocking=True)
        for layer, (keys, values) in zip(self._layers, prefix, strict=True):
            layer.impl.do_kv_cache_update(layer, keys, values, layer.kv_cache, places)
        self._counts.placed += len(places)


def _shown(load: Load) -> str:
    """A request's name, which its client may have written, on one line of the log."""
    return escape_controls(str(load.request), keep="")


def _attending(layers: Mapping[str, Any]) -> list[Any]:
    """The layers that have keys and values, from the lowest on."""
    names = [name for name, layer in layers.items() if getattr(layer, "kv_cache", None) is not None]
    return [layers[name] for name in sorted(names, key=layer_number)]
