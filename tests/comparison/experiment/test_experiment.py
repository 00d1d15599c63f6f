"""The shared experiment: splits without overlap, and errors before the first run."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModel

from softprompt.comparison import Experiment, FitConfig
from softprompt.comparison.methods.method_registry import get_method
from softprompt.errors import DataError, IncompleteModel, RecordError, SettingError
from softprompt.training.callbacks import NullCallback
from tests.comparison.conftest import Settings, reviews_of, written
from tests.tiny import MASKED_CONFIGS, tiny_tokenizer_for


def test_the_experiment_has_the_labels_of_the_task_and_disjoint_splits(settings: Settings) -> None:
    experiment = Experiment.prepare(settings())
    assert experiment.task.labels == ("bad", "good")
    assert [len(experiment.training), len(experiment.validation), len(experiment.test)] == [24, 12, 16]
    assert set(experiment.overlap.values()) == {0}


def test_a_tenth_of_the_training_data_is_held_out_without_a_validation_file(settings: Settings, tmp_path: Path) -> None:
    rows = [{"text": f"{row['text']} {i}", "label": row["label"]} for i in range(2) for row in reviews_of("train")]
    experiment = Experiment.prepare(settings(data=written(tmp_path / "more.jsonl", rows), validation=None))
    assert (len(experiment.training), len(experiment.validation)) == (43, 5)


def test_too_few_examples_to_hold_out_a_tenth_are_rejected(settings: Settings) -> None:
    with pytest.raises(DataError, match="pass `validation`"):
        Experiment.prepare(settings(validation=None))


def test_test_examples_that_occur_in_the_training_data_are_rejected(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = {"text": "THE film  was great fun", "label": "good"}  # case and white space make it no other
    test = written(tmp_path / "leaky.jsonl", [*reviews_of("test"), seen])
    with pytest.raises(DataError, match=r"training and test have 1 inputs in common.*`allow_overlap=True`"):
        Experiment.prepare(settings(test=test))
    assert Experiment.prepare(settings(test=test, allow_overlap=True)).overlap["training and test"] == 1
    assert "training and test have 1 inputs" in caplog.text


def test_a_train_size_larger_than_the_training_set_is_rejected(settings: Settings) -> None:
    with pytest.raises(SettingError, match=r"`train_sizes=\[25\]`: there are only 24 training examples"):
        Experiment.prepare(settings(train_sizes=(4, 25)))


def test_a_train_size_of_all_examples_is_rejected_with_several_seeds(settings: Settings) -> None:
    with pytest.raises(SettingError, match=r"`train_sizes=\[24\]` is the whole training set, .* 2 seeds"):
        Experiment.prepare(settings(train_sizes=(4, 24)))
    assert Experiment.prepare(settings(train_sizes=(4, 24), seeds=1)).settings.train_sizes == (4, 24)


def test_chats_with_the_same_question_and_different_answers_overlap(settings: Settings, tmp_path: Path) -> None:
    def chat(name: str, answer: str) -> str:
        said = [{"role": "user", "content": f"what of {name}?"}, {"role": "assistant", "content": answer}]
        return written(tmp_path / f"{name}-{answer}.jsonl", [{"messages": said}])

    given = settings(
        data=chat("films", "good"), validation=chat("songs", "good"), test=chat("films", "bad"), template=None
    )
    with pytest.raises(DataError, match="training and test have 1 inputs in common"):
        Experiment.prepare(given)


def test_an_invalid_test_example_is_rejected_before_the_comparison(settings: Settings, tmp_path: Path) -> None:
    test = written(tmp_path / "odd.jsonl", [*reviews_of("test"), {"text": "so so", "label": "middling"}])
    with pytest.raises(RecordError, match=r"odd.jsonl:17: label 'middling'"):
        Experiment.prepare(settings(test=test)).validate_examples()


def test_reference_texts_are_read_from_the_configured_file(settings: Settings, tmp_path: Path) -> None:
    assert len(Experiment.prepare(settings()).reference_texts) == 8
    own = tmp_path / "own.txt"
    own.write_text("one\n\n\n\ntwo\n", encoding="utf-8")
    assert Experiment.prepare(settings(reference_text=own)).reference_texts == ["one", "two"]
    own.write_text(" \n", encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        Experiment.prepare(settings(reference_text=own)).reference_texts  # noqa: B018
    with pytest.raises(DataError, match="missing.txt"):
        Experiment.prepare(settings(reference_text=tmp_path / "missing.txt")).reference_texts  # noqa: B018


def test_records_with_blank_answers_are_in_no_split(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def pairs(name: str, *outputs: str | None) -> str:
        rows = [{"input": f"{name} {i}", "output": output} for i, output in enumerate(outputs)]
        return written(tmp_path / f"{name}-pairs.jsonl", rows)

    files = {"data": pairs("films", "good", "", "bad"), "validation": pairs("songs", "good", " ")}
    files |= {"test": pairs("plays", None, "bad", "bad"), "out_of_domain": pairs("towns", "", "good")}
    experiment = Experiment.prepare(settings(**files, template=None))
    assert experiment.out_of_domain is not None
    splits = (experiment.training, experiment.validation, experiment.test, experiment.out_of_domain)
    assert [len(split) for split in splits] == [2, 1, 2, 1]
    assert caplog.text.count("records without a response") == 4


def test_every_split_numbers_answers_like_the_training_split(settings: Settings, tmp_path: Path) -> None:
    def questions(name: str, *answers: int) -> str:
        rows = [
            {"question": f"{name} {i}?", "choices": ["one", "two"], "answer": answer}
            for i, answer in enumerate(answers)
        ]
        return written(tmp_path / f"{name}-questions.jsonl", rows)

    files = {"data": questions("films", 1, 2), "validation": questions("songs", 1, 1)}
    files |= {"test": questions("plays", 1), "out_of_domain": questions("towns", 2)}
    experiment = Experiment.prepare(settings(**files, template=None))
    assert experiment.out_of_domain is not None
    splits = (experiment.training, experiment.validation, experiment.test, experiment.out_of_domain)
    assert ["".join(example.get_text("label") for example in split) for split in splits] == ["AB", "AA", "A", "B"]


def test_a_model_without_an_lm_head_can_be_adapted_by_methods_that_train_a_head(
    settings: Settings, tmp_path: Path
) -> None:
    network = AutoModel.from_config(MASKED_CONFIGS["bert"], add_pooling_layer=False)
    network.save_pretrained(tmp_path / "bare")
    tiny_tokenizer_for("bert").save_pretrained(tmp_path / "bare")
    experiment = Experiment.prepare(settings(model=str(tmp_path / "bare"), template="{text}", methods=("head",)))
    experiment.validate_examples()
    assert experiment.model.missing_head_weights
    method, trial = get_method("head"), FitConfig(experiment.training, steps=2)
    assert method.fit(experiment, trial, NullCallback()).evaluate(experiment.test).metrics.keys() >= {
        "accuracy",
        "loss",
    }
    with pytest.raises(IncompleteModel, match="has no masked-language-modeling head"):
        get_method("hard").fit(experiment, trial, NullCallback())
