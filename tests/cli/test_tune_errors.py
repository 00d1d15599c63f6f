"""Errors of `softprompt tune` name the cause, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Softprompt, Tune
from tests.conftest import REVIEWS

WriteJsonl = Callable[[str, Sequence[Any]], Path]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num-virtual-tokens", "0"], ["0 virtual tokens", "at least 1"]),
        (["--num-virtual-tokens", "-3"], ["-3 virtual tokens", "at least 1"]),
        (["--num-virtual-tokens", "128"], ["128 virtual tokens", "fewer than 128", "window"]),
        (["--num-virtual-tokens", "127"], ["reviews.jsonl:1", "template alone has"]),
        (["--method", "lora"], ["unknown method 'lora'", "prompt, residual, p-tuning, ", ", prefix, p-tuning-v2"]),
        (
            ["--method", "context", "--num-virtual-tokens", "5"],
            ["each of the 2 labels", "does not fit in 5 virtual tokens"],
        ),
        (["--method", "context", "--init", "vocab"], ["unknown init 'vocab': one of text"]),
        (["--init", "magic"], ["unknown init 'magic'", "text, labels, vocab, random, zeros, prompt"]),
        (["--init", "prompt:/nowhere"], ["/nowhere is not a saved prompt"]),
        (["--encoder", "gru"], ["unknown encoder 'gru'", "none, mlp"]),
        (["--encoder-hidden-size", "0"], ["--encoder-hidden-size 0"]),
        (["--placement", "middle"], ["--placement middle", "'before', 'after-bos', 'after-text'"]),
        (["--method", "prefix", "--placement", "after-text"], ["prefix does not support --placement after-text"]),
        (["--method", "prompt", "--freeze-sink"], ["--method prefix"]),
        (["--head", "round"], ["unknown head 'round'", "verbalizer, linear"]),
        (["--max-steps", "0"], ["--max-steps 0", "greater than 0"]),
        (["--batch-size", "0"], ["--batch-size 0", "greater than 0"]),
        (["--gradient-accumulation-steps", "-1"], ["--gradient-accumulation-steps -1", "greater than 0"]),
        (["--learning-rate", "-0.1"], ["--learning-rate -0.1", "greater than 0"]),
        (["--learning-rate", "0"], ["--learning-rate 0", "greater than 0"]),
        (["--learning-rate", "nan"], ["--learning-rate nan"]),
        (["--learning-rate", "inf"], ["--learning-rate inf"]),
        (["--learning-rate", "1e30"], ["--learning-rate 1e+30", "less than or equal to 1000"]),
        (["--warmup-ratio", "1.5"], ["--warmup-ratio 1.5", "less than or equal to 1"]),
        (["--weight-decay", "-1"], ["--weight-decay -1"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--device", "abacus"], ["no device 'abacus' here"]),
        (["--dtype", "float3"], ["unknown precision 'float3'", "auto, float32, bfloat16, float16"]),
        (["--report-to", "paper"], ["unknown tracker 'paper'", "tensorboard"]),
        (["--task", "translation"], ["--task translation", "'classification', 'generation', 'chat'"]),
        (["--template", "{text"], ["template '{text'"]),
        (["--template", "{}"], ["not a plain field name"]),
        (["--template", '{"a": {text}}'], ["{{ and }}"]),
        (["--template", "caf\udce9 {text}"], ["--template 'caf\\xe9 {text}'", "byte 0xe9", "UTF-8"]),
        (["--template=caf\udce9 {text}"], ["--template 'caf\\xe9 {text}'", "byte 0xe9 at character 4"]),
        (["--verbalizer", "good=caf\udce9"], ["--verbalizer 'good=caf\\xe9'", "byte 0xe9"]),
        (["--init", "text:caf\udce9"], ["--init 'text:caf\\xe9'", "byte 0xe9"]),
        (["--labels", "good,b\udce9d"], ["--labels 'good,b\\xe9d'", "byte 0xe9"]),
        (["--labels", '"good,bad'], ["--labels", "not closed"]),
        (["--template", "Review:"], ["has no field"]),
        (["--template", "{review}"], ["{review}", "reviews.jsonl:1", "text, label"]),
        (["--template", "[P1] [P2] {text} so", "--num-virtual-tokens", "3"], ["2 markers for 3 virtual tokens"]),
        (
            ["--template", "[P1] [P2] [P3] {text} so", "--placement", "after-text"],
            ["--placement after-text", "leave it out"],
        ),
        (["--template", "{text} so", "--placement", "in-template"], ["the template has no markers: add [P1]"]),
        (["--labels", "good"], ["at least two different labels"]),
        (["--labels", "good,bad,ugly"], ["no training example has the label ugly"]),
        (["--labels", "good,ugly"], ["no training example has the label ugly"]),
        (["--label-field", "stars"], ["reviews.jsonl:1", "--label-field"]),
        (["--verbalizer", "good"], ["--verbalizer good: expected label=word"]),
        (["--verbalizer", "ugly=x"], ["--verbalizer has words for unknown labels: ugly"]),
        (["--verbalizer", "good=x,bad=x"], ["same tokens"]),
        (["--task", "generation", "--template", "{text}"], ["reviews.jsonl:1: no field 'output'"]),
        (["--model", "some/name"], ["'some/name'", "Hub cannot be reached", "give a folder"]),
        (["--model", "not a name!"], ["no model 'not a name!'"]),
        (["--model", "/nowhere"], ["no folder /nowhere"]),
        (["--validation", "/gone.jsonl"], ["file not found: /gone.jsonl"]),
        (["--config", "/gone.toml"], ["file not found: /gone.toml"]),
        (["--output", "/"], ["--output / has no name"]),
        (["--output", "."], ["--output . has no name"]),
    ],
    ids=" ".join,
)
def test_tune_rejects_invalid_settings(tune: Tune, output: Path, options: list[str], words: list[str]) -> None:
    if options[0] == "--label-field":
        options = [*options, "--response-field", "answer"]
    tune(*options).refused(*words)
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["has no examples"]),
        ('{"text": "a", "label": "good"}\n{"text": "b",\n', ["a.jsonl:2: not JSON"]),
        ('{"text": "a", "label": "good"}\n["b", "bad"]\n', ["a.jsonl:2: expected an object"]),
        ('{"text": "a", "label": "good"}\n{"text": "b"}\n', ["a.jsonl:2: no field 'label'", "text"]),
        (
            '{"text": "a", "label": "good"}\n{"label": "bad"}\n{"text": "b", "label": "bad"}',
            ["a.jsonl:2: no field 'text'", "label"],
        ),
        ('{"text": null, "label": "good"}\n{"text": "b", "label": "bad"}\n', ["a.jsonl:1: field 'text' is NoneType"]),
        (
            r'{"text": "\ud83d", "label": "good"}' + '\n{"text": "b", "label": "bad"}\n',
            ["a.jsonl:1", "not valid Unicode text"],
        ),
        ('{"text": "a", "label": "good"}\n{"text": "b", "label": "good"}\n', ["at least two different labels"]),
        ('{"words": "a"}\n', ["a.jsonl:1 has neither a field 'label' nor 'output'", "words", "--label-field"]),
        ('{"input": "a", "output": "' + "scene " * 200 + '"}', ["a.jsonl:1: the response has"]),
    ],
)
def test_tune_rejects_invalid_data(tune: Tune, output: Path, tmp_path: Path, content: str, words: list[str]) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text(content)
    tune(data=data).refused(*words)
    assert not output.parent.exists()


def test_tune_errors_name_the_line_of_an_unknown_label(tune: Tune, output: Path, write_jsonl: WriteJsonl) -> None:
    data = write_jsonl("a.jsonl", [*REVIEWS[:6], {"text": "a film", "label": "fine"}])
    tune("--labels", "good,bad", data=data).refused("a.jsonl:7: label 'fine' is not one of good, bad")
    assert not output.parent.exists()


def test_tune_errors_name_the_line_of_an_unknown_validation_label(
    tune: Tune, output: Path, write_jsonl: WriteJsonl
) -> None:
    validation = write_jsonl("v.jsonl", [REVIEWS[0], {"text": "a film", "label": "fine"}])
    tune("--validation", validation).refused("v.jsonl:2: label 'fine' is not one of bad, good")
    assert not output.parent.exists()


def test_tune_errors_name_missing_options(softprompt: Softprompt, reviews: Path, output: Path) -> None:
    softprompt("tune", "--data", reviews).refused("--output is missing")
    softprompt("tune", "--output", output).refused("--data is missing")


def test_debug_shows_the_traceback_of_an_error(tune: Tune, output: Path) -> None:
    ran = tune("--method", "lora", "--debug")
    assert ran.code == 2
    assert "Traceback" in ran.err
    assert "SettingError" in ran.err
    assert not output.parent.exists()
