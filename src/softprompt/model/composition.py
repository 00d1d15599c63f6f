"""Several payloads as one: a task's prompt and a tenant's, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import torch

from softprompt.errors import SettingError
from softprompt.model.frozen import FrozenModel
from softprompt.model.payload import Embeddings, Payload, Placement, Prefix
from softprompt.model.rotary import moved_on


def compose(model: FrozenModel, payloads: Sequence[Payload]) -> Payload:
    """One payload that stands for several, in their order.

    Embeddings are put in a row, so that each sees those in front of it. Otherwise all become keys and values, and a
    prefix that comes to stand behind another is moved there: its keys are turned on by the angles of as many positions
    (rotary embeddings); learned positions and ALiBi need nothing. So it keeps its distance to the text, which has moved
    as well. A prefix was trained alone, and does not see the ones in front of it.

    Raises:
        SettingError: none is given, or one of them stands in a template or behind the text, or in another place.
    """
    if not payloads:
        raise SettingError("nothing to compose: give at least one prompt")
    places = {payload.placement for payload in payloads}
    if len(places) > 1 or places & {Placement.AFTER_TEXT, Placement.IN_TEMPLATE}:
        raise SettingError(
            "only prompts that stand in one place in front of the text compose; "
            f"these stand {', '.join(sorted(places))}"
        )
    embeddings = [payload for payload in payloads if isinstance(payload, Embeddings)]
    if len(embeddings) == len(payloads):
        return embeddings[0].with_tensor(torch.cat([each.tensor for each in embeddings]))
    prefixes = [_compiled(model, payload) for payload in payloads]
    return reduce(lambda front, back: _behind(model, front, back), prefixes)


def _compiled(model: FrozenModel, payload: Payload) -> Prefix:
    compiled = model.compile(payload)
    if isinstance(compiled, Prefix):
        return compiled
    raise SettingError(f"embeddings and prefixes do not compose on {model.name}, where embeddings read the text")


def _behind(model: FrozenModel, front: Prefix, back: Prefix) -> Prefix:
    """`back` behind `front`; the BOS that both may hold stands once, in front."""
    own = back.tensor[:, :, :, back.has_bos :]
    moved = moved_on(model, own, front.num_positions - back.has_bos)
    return replace(front, tensor=torch.cat([front.tensor, moved.to(front.tensor.dtype)], dim=3))
