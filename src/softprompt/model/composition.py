"""Composition of several payloads into one, such as a task's prompt and a tenant's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import torch

from softprompt.errors import SettingError
from softprompt.model.frozen_model import FrozenModel
from softprompt.model.payload import KVPrefix, Payload, Placement, PromptEmbeddings
from softprompt.model.rotary import shift_positions


def compose_payloads(model: FrozenModel, payloads: Sequence[Payload]) -> Payload:
    """Concatenate payloads in their order.

    Prompt embeddings are concatenated, so that later ones attend to earlier ones. Otherwise all payloads are compiled
    to KV prefixes, and each prefix is shifted to follow the previous one: its keys are rotated by that many positions
    (rotary embeddings); learned positions and ALiBi need no change. The distance of a prefix to the text stays the
    same. A prefix was trained alone and does not attend to the prefixes before it.

    Raises:
        SettingError: there is no payload, or the placements differ, or are in the template or after the text.
    """
    if not payloads:
        raise SettingError("nothing to compose: give at least one prompt")
    placements = {payload.placement for payload in payloads}
    if len(placements) > 1 or placements & {Placement.AFTER_TEXT, Placement.IN_TEMPLATE}:
        raise SettingError(
            "only prompts that stand in one place in front of the text compose; "
            f"these stand {', '.join(sorted(placements))}"
        )
    embeddings = [payload for payload in payloads if isinstance(payload, PromptEmbeddings)]
    if len(embeddings) == len(payloads):
        return embeddings[0].with_tensor(torch.cat([payload.tensor for payload in embeddings]))
    prefixes = [_compile_to_prefix(model, payload) for payload in payloads]
    return reduce(lambda front, back: _concatenate_prefixes(model, front, back), prefixes)


def _compile_to_prefix(model: FrozenModel, payload: Payload) -> KVPrefix:
    compiled = model.compile_payload(payload)
    if isinstance(compiled, KVPrefix):
        return compiled
    raise SettingError(f"embeddings and prefixes do not compose on {model.name}, where embeddings read the text")


def _concatenate_prefixes(model: FrozenModel, first: KVPrefix, second: KVPrefix) -> KVPrefix:
    """Append `second` to `first`; a BOS that both contain is kept once, in front."""
    without_bos = second.tensor[:, :, :, second.has_bos :]
    shifted = shift_positions(model, without_bos, first.num_positions - second.has_bos)
    return replace(first, tensor=torch.cat([first.tensor, shifted.to(first.tensor.dtype)], dim=3))
