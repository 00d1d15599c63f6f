"""Cache of a model's spreads, measured once for all prompts, because the model is frozen."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor

from softprompt.model import FrozenModel, measure_hidden_state_spread, measure_kv_spread

_KV_SPREADS: WeakKeyDictionary[FrozenModel, Tensor] = WeakKeyDictionary()
_HIDDEN_STATE_SPREADS: WeakKeyDictionary[FrozenModel, float] = WeakKeyDictionary()


def get_kv_spread(model: FrozenModel) -> Float[Tensor, "L 2"]:
    """Return `measure_kv_spread` of a model. The tensor must not be modified."""
    if model not in _KV_SPREADS:
        _KV_SPREADS[model] = measure_kv_spread(model)
    return _KV_SPREADS[model]


def get_hidden_state_spread(model: FrozenModel) -> float:
    """Return `measure_hidden_state_spread` of a model."""
    if model not in _HIDDEN_STATE_SPREADS:
        _HIDDEN_STATE_SPREADS[model] = measure_hidden_state_spread(model)
    return _HIDDEN_STATE_SPREADS[model]
