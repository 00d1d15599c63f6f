"""The cost of a forward pass."""

from __future__ import annotations

from softprompt.model.forward_budget import CPU_BUDGET, SHARDED_BUDGET
from tests.tiny import tiny_model


def test_a_sharded_model_uses_the_forward_budget_for_sharded_models() -> None:
    model = tiny_model("llama")
    assert model.forward_budget is CPU_BUDGET
    model.is_sharded = True
    assert model.forward_budget is SHARDED_BUDGET
