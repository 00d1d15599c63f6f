"""Methods by name: what they train, and that every number they count trains."""

from __future__ import annotations

import pytest
import torch

from softprompt.errors import SettingError
from softprompt.model import KVPrefix, PromptEmbeddings
from softprompt.prompts import TUNING_METHODS, PromptOptions, build_prompt
from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget
from softprompt.training.gradient_accumulation import PromptTrainable
from tests import strategies
from tests.tiny import FAMILIES, shared_model

LABELS = ("good", "bad", "so-so")
L, G, D, H, P = 3, 2, 6, 24, 4  # the tiny Llama's, and ours
TEXT = "the film was great"  # P tokens


def built(method: str, encoder: str | None = None, **more: object):  # type: ignore[no-untyped-def]
    choices = strategies.options(method, P, encoder=encoder, **more)
    return build_prompt(choices, shared_model("llama"), TEXT, LABELS)[0]


@pytest.mark.parametrize(
    ("method", "encoder", "parameters"),
    [
        ("prompt", "none", P * H),
        ("residual", "mlp", P * H + 2 * H + (H * 128 + 128) + (128 * H + H)),
        ("p-tuning", "mlp", P * H + (H * 256 + 256) + (256 * 256 + 256) + (256 * H + H)),
        ("multitask", "none", P * H + 2 * (P + H)),
        ("context", "none", P * H),
        ("prefix", "none", L * 2 * G * P * D),
        ("prefix", "mlp", P * H + (H * 512 + 512) + (512 * L * 2 * G * D + L * 2 * G * D)),
        ("p-tuning-v2", "none", L * 2 * G * P * D + 3 * H + 3),
    ],
)
def test_parameter_counts(method: str, encoder: str, parameters: int) -> None:
    assert built(method, encoder).num_parameters == parameters


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "encoder"), strategies.METHODS)
def test_every_counted_parameter_trains(family: str, method: str, encoder: str) -> None:
    """In the second step: a layer that starts at zero hides those before it in the first."""
    model = shared_model(family)
    prompt, _ = build_prompt(strategies.options(method, P, encoder=encoder), model, "a film", LABELS)
    objective = ClassificationTask(labels=LABELS).build_objective(model, 100, prompt.head)
    rows = [
        EncodedExample([5 + i, 9, 77, 300], LabelTarget(i % 3), task_index=i % max(1, len(prompt.task_names)))
        for i in range(6)
    ]
    optimiser = torch.optim.SGD(prompt.parameters(), lr=0.5)
    for _ in range(2):
        optimiser.zero_grad()
        PromptTrainable(prompt).accumulate_gradients(objective, rows, 6)
        optimiser.step()
    for name, parameter in prompt.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("method", "encoder"), strategies.METHODS)
def test_a_prompt_starts_exactly_where_its_start_is(method: str, encoder: str) -> None:
    model = shared_model("llama")
    words = model.embed_tokens(torch.tensor([model.prompt_tokenizer.tokenize(TEXT)]))[0]
    with torch.no_grad():
        payload = built(method, encoder)()
    expected = words if isinstance(payload, PromptEmbeddings) else model.compute_kv(words)
    torch.testing.assert_close(payload.tensor, expected)


@pytest.mark.parametrize(("method", "encoder"), strategies.methods_starting_from("random"))
def test_the_seed_decides_everything(method: str, encoder: str) -> None:
    one, same, other = (built(method, encoder, init="random", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_building_leaves_the_global_random_source_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    built("p-tuning", "lstm", init="random")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("method", "init"),
    [
        (name, init)
        for name in dict(strategies.METHODS)
        for init in (*TUNING_METHODS[name].initializers, "text:the plot was a bore")
        if init != "prompt"
    ],
)
def test_every_start_that_a_method_has(method: str, init: str) -> None:
    payload = built(method, init=init)()
    assert payload.num_virtual_tokens == P
    assert payload.tensor.isfinite().all()
    assert isinstance(payload, KVPrefix if method in ("prefix", "p-tuning-v2") else PromptEmbeddings)


def test_rates_cover_every_parameter_once() -> None:
    for method, encoder in strategies.METHODS:
        prompt = built(method, encoder)
        grouped = [id(p) for parameters, _ in prompt.param_groups() for p in parameters]
        assert sorted(grouped) == sorted(id(p) for p in prompt.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PromptOptions("magic"), "unknown method 'magic': one of prompt"),
        (PromptOptions("prompt", encoder="mlp"), "unknown encoder 'mlp': one of none"),
        (PromptOptions("prefix", init="magic"), "unknown init 'magic': one of text"),
        (PromptOptions("prefix", head="magic"), "unknown head 'magic'"),
        (PromptOptions("prefix", 0), "0 virtual tokens"),
        (PromptOptions("prefix", -3), "-3 virtual tokens"),
        (PromptOptions("prefix", 128), "fewer than 128"),
        (PromptOptions("prefix", encoder="mlp", freeze_sink=True), "directly trained keys"),
    ],
)
def test_choices_that_cannot_be(options: PromptOptions, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build_prompt(options, shared_model("llama"), "a film", LABELS)
