"""Methods that repeat a text in every request: what they equal, what they cost, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from softprompt.comparison import Experiment, MethodKind
from softprompt.comparison.methods.method_registry import get_method
from softprompt.errors import SettingError, TaskError
from tests.chat_templates import SYSTEM_TEMPLATES
from tests.comparison.conftest import TEMPLATE, Settings, written
from tests.comparison.texts import (
    INSTRUCTION,
    SHOTS,
    TEXT_METHODS,
    check_text_methods_refuse,
    fit,
    prepare,
    save_masked_model,
    write_chats,
    write_instruction,
    write_other_tasks,
)

REPEATING = ("document", "truncate:4")


def score(experiment: Experiment, name: str) -> list[float]:
    return list(fit(experiment, name).evaluate(experiment.test).scores)


@pytest.mark.parametrize("kind", ["context", "document"])
def test_the_whole_text_has_the_scores_of_a_template_that_begins_with_it(
    settings: Settings, tmp_path: Path, kind: str
) -> None:
    experiment = Experiment.prepare(settings(**{kind: write_instruction(tmp_path)}))
    written_out = Experiment.prepare(settings(template=f"{INSTRUCTION}\n\n{TEMPLATE}"))
    text, template = (fit(experiment, "document"), fit(written_out, "hard"))
    expected = template.evaluate(experiment.test).metrics
    assert text.evaluate(experiment.test).metrics == pytest.approx(expected, abs=1e-4)


def test_examples_have_the_scores_of_a_template_that_begins_with_them(settings: Settings, tmp_path: Path) -> None:
    examples = written(tmp_path / "shots.jsonl", SHOTS)
    shots = "".join(f"{shot['text']}\nLabel: {shot['label']}\n\n" for shot in SHOTS)
    written_out = Experiment.prepare(settings(template=shots + TEMPLATE))
    expected = fit(written_out, "hard").evaluate(written_out.test).metrics
    experiment = prepare(settings, tmp_path, examples=examples)
    assert fit(experiment, "document").evaluate(experiment.test).metrics == pytest.approx(expected, abs=1e-4)


def test_truncated_examples_are_the_first_ones(settings: Settings, tmp_path: Path) -> None:
    whole = prepare(settings, tmp_path, examples=written(tmp_path / "shots.jsonl", SHOTS))
    first = prepare(settings, tmp_path, examples=written(tmp_path / "first.jsonl", SHOTS[:2]))
    size = fit(first, "document").num_request_tokens
    assert size is not None
    assert score(whole, f"truncate:{size}") == pytest.approx(score(first, "document"), abs=1e-6)
    assert score(whole, f"truncate:{size + 1}") == pytest.approx(score(first, "document"), abs=1e-6)


def test_a_truncated_text_is_its_beginning(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path)
    truncated, whole = fit(experiment, "truncate:8"), fit(experiment, "document")
    assert truncated.payload is not None
    assert whole.payload is not None
    num_text_tokens = 8 - 2  # and a blank line
    beginning = [fitted.payload.tensor[:, :, :, : 1 + num_text_tokens] for fitted in (truncated, whole)]
    torch.testing.assert_close(*beginning, atol=1e-5, rtol=0)


def test_a_text_costs_tokens_in_every_request_and_nothing_is_trained(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path)
    whole, truncated, hard = (fit(experiment, name) for name in ("document", "truncate:6", "hard"))
    assert [fitted.num_trained_parameters for fitted in (whole, truncated)] == [0, 0]
    assert [fitted.training_record for fitted in (whole, truncated)] == [None, None]
    assert whole.stored_bytes == len(f"{INSTRUCTION}\n\n{TEMPLATE}".encode())
    assert hard.stored_bytes < truncated.stored_bytes < whole.stored_bytes
    assert hard.num_request_tokens == 0
    assert 0 < truncated.num_request_tokens <= 6 < whole.num_request_tokens
    assert fit(experiment, "few-shot:2").num_request_tokens > 0
    assert get_method("document").kind is get_method("truncate:6").kind is MethodKind.PROMPTING
    served = whole.benchmark_serving(experiment.test, 50)
    assert served is not None
    assert served.requests_per_second > 0


@pytest.mark.parametrize("template", SYSTEM_TEMPLATES)
def test_the_text_is_the_system_message_of_a_chat(settings: Settings, tmp_path: Path, template: str) -> None:
    chats = write_chats(tmp_path, SYSTEM_TEMPLATES[template])
    experiment = prepare(settings, tmp_path, **chats)
    whole = fit(experiment, "document")
    spoken = [
        {"messages": [{"role": "system", "content": INSTRUCTION}, *example.fields["messages"]]}
        for example in experiment.test
    ]
    with_system = Experiment.prepare(settings(**{**chats, "test": written(tmp_path / "spoken.jsonl", spoken)}))
    expected = fit(with_system, "hard").evaluate(with_system.test).metrics["loss"]
    assert whole.evaluate(experiment.test).metrics["loss"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["truncate:0", "distil:0", "truncate:-3", "distil:many", "truncate:1.5"])
def test_a_number_of_tokens_that_is_not_positive_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=rf"{name}: pass the number of .*tokens as a positive integer"):
        get_method(name)


def test_the_whole_text_takes_no_argument() -> None:
    with pytest.raises(SettingError, match="document:4: document takes no argument"):
        get_method("document:4")


@pytest.mark.parametrize("method", ["truncate", "distil"])
def test_as_many_tokens_as_the_text_has_are_refused(settings: Settings, tmp_path: Path, method: str) -> None:
    experiment = prepare(settings, tmp_path)
    size = fit(experiment, "document").num_request_tokens
    assert size is not None
    for num_tokens in (size, size + 20):
        name = f"{method}:{num_tokens}"
        check_text_methods_refuse(experiment, (name,), f"has {size} tokens", "choose fewer, or the method document")
    fit(experiment, f"{method}:{size - 1}")


def test_a_truncation_that_leaves_no_example_is_refused(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path, examples=written(tmp_path / "shots.jsonl", SHOTS))
    check_text_methods_refuse(experiment, ("truncate:2",), "no part of", "fits in 2 tokens: choose more")


@pytest.mark.parametrize("task", ["token-classification", "extraction"])
def test_tasks_without_an_answer_after_the_text_are_refused(settings: Settings, tmp_path: Path, task: str) -> None:
    experiment = prepare(settings, tmp_path, **write_other_tasks(tmp_path)[task])
    check_text_methods_refuse(experiment, TEXT_METHODS, f"a text cannot precede the inputs of {task}")


def test_a_masked_model_is_refused(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path, model=save_masked_model(tmp_path))
    check_text_methods_refuse(experiment, TEXT_METHODS, "only causal models read a text once for all inputs")


def test_a_template_with_markers_is_refused(settings: Settings, tmp_path: Path) -> None:
    experiment = prepare(settings, tmp_path, template="[P1] {text}\nLabel:")
    check_text_methods_refuse(experiment, TEXT_METHODS, "remove the markers of virtual tokens")


def test_examples_of_a_chat_are_refused(settings: Settings, tmp_path: Path) -> None:
    chats = write_chats(tmp_path)
    experiment = prepare(settings, tmp_path, **chats, examples=chats["validation"])
    check_text_methods_refuse(experiment, TEXT_METHODS, "examples of chat make no few-shot prompt")


def test_a_text_longer_than_the_window_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(20 * INSTRUCTION, "utf-8")
    experiment = prepare(settings, tmp_path, context=tmp_path / "long.txt")
    for name in ("document", "distil:4"):
        with pytest.raises(SettingError, match="shorten the text"):
            fit(experiment, name)
    fit(experiment, "truncate:8")


def test_an_example_without_an_answer_is_refused(settings: Settings, tmp_path: Path) -> None:
    from softprompt.errors import RecordError

    shots = written(tmp_path / "shots.jsonl", [{"text": "a film", "label": "so"}])
    with pytest.raises((RecordError, TaskError), match=r"shots.jsonl:1"):
        fit(prepare(settings, tmp_path, examples=shots), "document")
