"""`softprompt classify`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

import softprompt as package
from softprompt.model import load_model
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from tests.cli.conftest import Softprompt
from tests.strategies import random_embeddings

TEXTS = ("the film was great", "awful, a bore", "这部电影很好看")


def say(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    """Replace standard input by this content."""
    raw = content if isinstance(content, bytes) else content.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))


def made(folder: Path, base: Path, **task: object) -> Path:
    model = load_model(str(base))
    payload = random_embeddings(model, 3, seed=0)
    settings = {"labels": ("good", "bad"), **task}
    saved = SavedPrompt.from_payload(
        model,
        payload,
        ClassificationTask(**settings),
        method={"name": "prompt"},
        trained_parameters=1,
    )
    saved.save_to(folder)
    return folder


def test_classify_json_has_a_result_per_text(softprompt: Softprompt, classifier: Path) -> None:
    found = softprompt("classify", classifier, *TEXTS, "--json").json
    assert set(found) == {"results"}
    assert [result["text"] for result in found["results"]] == list(TEXTS)
    for result in found["results"]:
        assert set(result) == {"text", "label", "probabilities"}
        assert set(result["probabilities"]) == {"bad", "good"}
        assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert result["label"] == max(result["probabilities"], key=result["probabilities"].get)


def test_classify_json_equals_the_results_of_the_python_function(
    softprompt: Softprompt, classifier: Path, base: Path
) -> None:
    found = softprompt("classify", classifier, *TEXTS, "--json").json
    expected = package.classify(load_model(str(base)), SavedPrompt.from_folder(classifier), TEXTS)
    assert found["results"] == [vars(prediction) for prediction in expected]


def test_classify_without_texts_reads_a_text_per_line_of_standard_input(
    softprompt: Softprompt, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "".join(f"{text}\n" for text in TEXTS))
    lines = softprompt("classify", classifier, "--json").json
    assert lines == softprompt("classify", classifier, *TEXTS, "--json").json


def test_blank_lines_and_line_ends_of_standard_input_are_ignored(
    softprompt: Softprompt, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "one\r\n\n  \n two \nthree")
    found = softprompt("classify", classifier, "--json").json
    assert [result["text"] for result in found["results"]] == ["one", " two ", "three"]


def test_empty_standard_input_gives_no_results(
    softprompt: Softprompt, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "")
    assert softprompt("classify", classifier, "--json").json == {"results": []}


def test_standard_input_that_is_not_utf_8_is_rejected(
    softprompt: Softprompt, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, b"fine\n\xff\xfe\n")
    softprompt("classify", classifier, "--json").refused("standard input is not valid utf-8")


def test_a_text_argument_that_is_not_utf_8_is_rejected(softprompt: Softprompt, classifier: Path) -> None:
    softprompt("classify", classifier, "fine", "\udcff", "--json").refused("the byte 0xff", "not UTF-8")


def test_classify_prints_a_line_per_text(softprompt: Softprompt, classifier: Path) -> None:
    ran = softprompt("classify", classifier, *TEXTS)
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert [line.split("  ")[-1] for line in lines] == list(TEXTS)
    assert all(line.startswith(("good", "bad")) and "%" in line for line in lines)


def test_texts_with_rich_markup_are_printed_unchanged(softprompt: Softprompt, classifier: Path) -> None:
    texts = ("a [bold]film[/bold]", "[/red]", ":smile:", "word " * 40 + "end")
    out = softprompt("classify", classifier, *texts).out
    assert [line.partition("%  ")[2] for line in out.splitlines()] == list(texts)


def test_labels_with_rich_markup_are_printed_unchanged(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    prompt = made(tmp_path / "p", base, labels=("[/good]", "[red]bad"))
    assert softprompt("classify", prompt, "a film").out.startswith(("[/good]", "[red]bad"))


def test_an_empty_text_is_classified(softprompt: Softprompt, classifier: Path) -> None:
    [result] = softprompt("classify", classifier, "", "--json").json["results"]
    assert result["label"] in ("good", "bad")


def test_a_text_longer_than_the_context_window_is_classified(softprompt: Softprompt, classifier: Path) -> None:
    [result] = softprompt("classify", classifier, "scene " * 500, "--json").json["results"]
    assert result["text"] == "scene " * 500


def test_a_verbalizer_maps_labels_to_words_in_classify(softprompt: Softprompt, base: Path, tmp_path: Path) -> None:
    prompt = made(tmp_path / "p", base, labels=("1", "0"), words={"1": "good", "0": "bad"})
    plain = made(tmp_path / "q", base)
    [worded] = softprompt("classify", prompt, "a film", "--json").json["results"]
    [direct] = softprompt("classify", plain, "a film", "--json").json["results"]
    assert list(worded["probabilities"]) == ["1", "0"]
    assert list(worded["probabilities"].values()) == pytest.approx(list(direct["probabilities"].values()))


def test_classify_rejects_a_prompt_whose_template_has_several_fields(
    softprompt: Softprompt, base: Path, tmp_path: Path
) -> None:
    prompt = made(tmp_path / "p", base, template="{title}: {body}")
    softprompt("classify", prompt, "a film").refused("title, body", "one text cannot fill them")


def test_classify_rejects_a_generation_prompt(softprompt: Softprompt, writer: Path) -> None:
    softprompt("classify", writer, "a film").refused("does not classify texts", "softprompt generate")


def test_classify_rejects_another_base_model(
    softprompt: Softprompt, classifier: Path, base: Path, other_base: Path
) -> None:
    ran = softprompt("classify", classifier, "a film", "--model", other_base)
    ran.refused(*(load_model(str(folder)).fingerprint for folder in (base, other_base)))


def test_classify_with_a_moved_base_model_gives_the_same_result(
    softprompt: Softprompt, classifier: Path, base: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(base)
    elsewhere = softprompt("classify", classifier, *TEXTS, "--model", moved, "--json").json
    assert elsewhere == softprompt("classify", classifier, *TEXTS, "--json").json


def test_classify_warns_about_a_precision_other_than_that_of_training(softprompt: Softprompt, classifier: Path) -> None:
    ran = softprompt("classify", classifier, "a film", "--dtype", "bfloat16", "--json")
    assert ran.json["results"]
    assert "trained in float32 and is used in bfloat16" in ran.err


def test_classify_rejects_a_missing_prompt(softprompt: Softprompt, tmp_path: Path) -> None:
    softprompt("classify", tmp_path / "gone", "a film").refused(
        "gone is not a saved prompt", "the folder does not exist"
    )


def test_classify_rejects_a_prompt_whose_base_model_is_missing(
    softprompt: Softprompt, base: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "base"
    copy.symlink_to(base)
    prompt = made(tmp_path / "p", copy)
    copy.unlink()
    softprompt("classify", prompt, "a film").refused("no folder", str(copy))
