"""How far tokens differ in a model, measured once for all prompts that are made for it: a model is frozen."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor

from softprompt.model import FrozenModel, key_value_spread, state_spread

_KEY_VALUE_SPREADS: WeakKeyDictionary[FrozenModel, Tensor] = WeakKeyDictionary()
_STATE_SPREADS: WeakKeyDictionary[FrozenModel, float] = WeakKeyDictionary()


def find_key_value_spread(model: FrozenModel) -> Float[Tensor, "L 2"]:
    """See `key_value_spread`; nobody may change the tensor."""
    if model not in _KEY_VALUE_SPREADS:
        _KEY_VALUE_SPREADS[model] = key_value_spread(model)
    return _KEY_VALUE_SPREADS[model]


def find_state_spread(model: FrozenModel) -> float:
    """See `state_spread`."""
    if model not in _STATE_SPREADS:
        _STATE_SPREADS[model] = state_spread(model)
    return _STATE_SPREADS[model]
