"""The text in front of the inputs: required by methods that use it, refused without them, never of test examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.comparison import Experiment, run_comparison
from softprompt.errors import DataError, SettingError
from tests.comparison.conftest import Settings, reviews_of, written
from tests.comparison.texts import INSTRUCTION, SHOTS, TEXT_METHODS, write_instruction


@pytest.mark.parametrize("method", TEXT_METHODS)
def test_a_method_that_uses_a_text_needs_one(settings: Settings, method: str) -> None:
    given = settings(methods=("hard", method))
    with pytest.raises(
        SettingError, match=f"the method {method} needs the text in front of the inputs: pass `context`"
    ):
        run_comparison(given)
    assert not given.output.exists()


def test_a_text_without_a_method_that_uses_it_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"`document` is a text for the methods document, distil:P and truncate:P"):
        run_comparison(settings(methods=("hard", "prefix"), document=write_instruction(tmp_path)))


def test_several_texts_are_refused(settings: Settings, tmp_path: Path) -> None:
    text = write_instruction(tmp_path)
    with pytest.raises(SettingError, match="`context` and `document` are given, and the methods use one text"):
        run_comparison(settings(methods=("document",), document=text, context=text))


@pytest.mark.parametrize(
    ("content", "words"), [(b" \n", "is empty"), (b"a\0b", "is a binary file"), (None, "file not found")]
)
def test_a_text_that_cannot_be_read_is_refused_before_the_first_run(
    settings: Settings, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "odd.txt"
    if content is not None:
        path.write_bytes(content)
    given = settings(methods=("document",), context=path)
    with pytest.raises(DataError, match=words):
        run_comparison(given)
    assert not given.output.exists()


def test_examples_in_front_of_the_inputs_that_are_test_examples_are_refused(settings: Settings, tmp_path: Path) -> None:
    leaky = written(tmp_path / "leaky.jsonl", [*SHOTS, reviews_of("test")[0]])
    with pytest.raises(DataError, match="examples and test have 1 inputs in common"):
        Experiment.prepare(settings(examples=leaky))
    seen = written(tmp_path / "seen.jsonl", [*SHOTS, reviews_of("train")[0]])
    assert Experiment.prepare(settings(examples=seen)).overlap["examples and test"] == 0


def test_another_text_repeats_only_the_runs_that_use_it(settings: Settings, tmp_path: Path, here: list[str]) -> None:
    text = write_instruction(tmp_path)
    given = settings(methods=("hard", "prefix", *TEXT_METHODS), context=text, seeds=1, trials=1)
    first = run_comparison(given)
    assert set(first.results) == {"hard", "prefix", *TEXT_METHODS}
    here.clear()
    assert run_comparison(given).methods == first.methods
    assert here == []
    text.write_text(f"{INSTRUCTION} so", "utf-8")
    run_comparison(given)
    assert here == list(TEXT_METHODS)


def test_a_lost_run_is_repeated_with_the_same_result(settings: Settings, tmp_path: Path, here: list[str]) -> None:
    given = settings(methods=("distil:4",), context=write_instruction(tmp_path), seeds=2, trials=2)
    first = run_comparison(given)
    next((given.output / "cells").glob("*seed-0-1*")).unlink()
    here.clear()
    again = run_comparison(given)
    assert here == ["distil:4"]
    assert again.results["distil:4"].metrics == first.results["distil:4"].metrics


def test_a_budget_in_minutes_gives_distillation_its_number_of_steps(
    settings: Settings, tmp_path: Path, here: list[str]
) -> None:
    given = settings(methods=("distil:4",), context=write_instruction(tmp_path), seeds=1, trials=1, budget_minutes=0.01)
    result = run_comparison(given).results["distil:4"]
    assert result.steps > 1
    assert here == ["distil:4", "distil:4"]  # the timing of a step, and the runs
