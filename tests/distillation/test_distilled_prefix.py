"""Which keys and values of a distilled prefix are trained."""

from __future__ import annotations

import pytest
import torch

from softprompt.distillation.distilled_prefix import DistilledPrefix
from softprompt.distillation.initial_prefix import PrefixInitContext, take_last_tokens
from softprompt.model import CausalModel
from softprompt.prompts.spread_cache import get_kv_spread
from tests.distillation.targets import build_context
from tests.tiny import shared_model


def build(family: str, P: int, value_lr_multiplier: float = 1.0) -> tuple[DistilledPrefix, torch.Tensor]:
    """Return a prefix and its initial keys and values."""
    model = shared_model(family)
    assert isinstance(model, CausalModel)
    context = build_context(model)
    init = take_last_tokens(PrefixInitContext(model, context, (), P, 0))
    prefix = DistilledPrefix(init, get_kv_spread(model), context.prefix.placement, value_lr_multiplier)
    return prefix, init.tensor


@pytest.mark.parametrize(("family", "num_frozen"), [("llama", 0), ("qwen2", 1)])
def test_only_the_first_token_is_frozen_and_only_without_bos(family: str, num_frozen: int) -> None:
    prefix, start = build(family, 4)
    torch.testing.assert_close(prefix().tensor, start)
    with torch.no_grad():
        for parameter in prefix.parameters():
            parameter.fill_(1.0)
    moved = (prefix().tensor - start).abs().amin(dim=(0, 1, 2, 4)) > 0
    assert moved.tolist() == [False] * num_frozen + [True] * (4 - num_frozen)


def test_a_prefix_of_one_token_without_bos_has_nothing_to_train() -> None:
    prefix, start = build("qwen2", 1)
    assert prefix.num_parameters == 0
    assert torch.equal(prefix().tensor, start)


def test_changes_are_in_units_of_the_spread() -> None:
    prefix, start = build("llama", 3)
    with torch.no_grad():
        prefix.keys.fill_(1.0)
    change = prefix().tensor - start
    spread = get_kv_spread(shared_model("llama"))
    torch.testing.assert_close(change[:, 0].mean(dim=(1, 2, 3)), spread[:, 0])
    assert not change[:, 1].any()


def test_values_have_a_learning_rate_of_their_own() -> None:
    prefix, _ = build("llama", 3, value_lr_multiplier=0.25)
    groups = prefix.param_groups()
    assert [
        (parameters[0] is part, multiplier)
        for (parameters, multiplier), part in zip(groups, (prefix.keys, prefix.values), strict=True)
    ] == [(True, 1.0), (True, 0.25)]
