"""`softprompt distil`: its options, its files, its output, and the inputs that it rejects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from softprompt.saved import SavedPrompt
from tests.cli.conftest import (
    Distil,
    Softprompt,
    WriteJsonl,
    files,
    logged,
    saved_model,
)


def test_distil_json_has_the_prompt_and_its_metrics(distil: Distil, inputs: Path, output: Path) -> None:
    found = distil("--validation", inputs, "--json").json
    assert {"prompt": str(output), "num_virtual_tokens": 3, "steps": 2}.items() <= found.items()
    assert {"recovery", "kl", "agreement"} <= found["metrics"].keys() == found["initial_metrics"].keys()
    manifest = SavedPrompt.from_folder(output).manifest
    assert manifest.metrics["validation"] == found["metrics"]
    assert manifest.method["source"]["num_tokens"] == found["num_context_tokens"] > 3


def test_distil_prints_a_summary(distil: Distil, inputs: Path) -> None:
    ran = distil("--validation", inputs)
    out = " ".join(ran.out.split())
    assert ran.code == 0
    for words in ("tokens became 3 virtual tokens", "4 validation inputs; the prefix of step", "report and picture in"):
        assert words in out
    assert "the prefix starts from attention matching, 26 tokens to 3" in ran.err


def test_distil_writes_a_run_folder(distil: Distil, output: Path) -> None:
    assert distil().code == 0
    assert set(files(output.with_name("p.run"))) == {
        "run.json",
        "metrics.jsonl",
        "loss.png",
        "checkpoint.safetensors",
        "teacher.safetensors",
    }
    assert [line["step"] for line in logged(output)] == [1, 2]


def test_the_exact_form_needs_no_inputs_and_no_run_folder(distil: Distil, output: Path) -> None:
    found = distil("--num-virtual-tokens", "all", "--json", data=None).json
    assert found["num_virtual_tokens"] == found["num_context_tokens"]
    assert not output.with_name("p.run").exists()


def test_the_exact_form_with_inputs_holds_none_of_them_out(distil: Distil) -> None:
    ran = distil("--num-virtual-tokens", "all")
    assert ran.code == 0
    assert "hold" not in ran.err


def test_distil_reads_settings_from_a_config_file(
    softprompt: Softprompt, base: Path, instruction: Path, inputs: Path, output: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(
        f'model = "{base}"\ncontext = "{instruction}"\ndata = "{inputs}"\noutput = "{output}"\n'
        "num-virtual-tokens = 5\nmax_steps = 9\nmax-new-tokens = 4\n"
    )
    found = softprompt("distil", "--config", tmp_path / "run.toml", "--max-steps", 1, "--json").json
    assert (found["num_virtual_tokens"], found["steps"]) == (5, 1)


def test_distil_logs_to_a_tracker(distil: Distil, output: Path) -> None:
    assert distil("--report-to", "tensorboard").code == 0
    assert any("tfevents" in name for name in files(output.parent))
    distil("--report-to", "paper", "--overwrite").refused("unknown tracker 'paper'", "tensorboard")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num-virtual-tokens", "0"], ["--num-virtual-tokens 0: choose a number of at least 1, or all"]),
        (["--num-virtual-tokens", "-1"], ["--num-virtual-tokens -1: choose a number of at least 1, or all"]),
        (["--num-virtual-tokens", "many"], ["--num-virtual-tokens many: choose a number of at least 1, or all"]),
        (["--num-virtual-tokens", "1.5"], ["--num-virtual-tokens 1.5: choose"]),
        (["--num-virtual-tokens", "90"], ["--num-virtual-tokens 90, and the text has", "choose fewer, or `all`"]),
        (["--document", "other.txt"], ["--context and --document are given: pass --context"]),
        (
            ["--task", "extraction"],
            ["--task extraction cannot be distilled: choose classification, generation"],
        ),
        (["--task", "classification"], ["a classification needs its labels: pass --labels"]),
        (["--task", "chat"], ["has no chat template", "'input' and 'output'"]),
        (["--labels", "good"], ["at least two different labels"]),
        (["--labels", "good,bad"], ["inputs.jsonl:1: no field 'text'; its fields are input"]),
        (["--verbalizer", "good=great"], ["--labels and --verbalizer are for classification", "a generation"]),
        (["--labels", "good,bad", "--task", "generation"], ["are for classification", "a generation"]),
        (["--template", "{question} is"], ["inputs.jsonl:1: no field 'question'; its fields are input"]),
        (["--template", "is"], ["has no field"]),
        (["--template", "[P1] {input} is"], ["precedes the template: remove the markers of virtual tokens, [P1]"]),
        (["--init", "zeros"], ["--init zeros: input should be 'attention-matching', 'last-tokens'"]),
        (["--calibration", "cold"], ["--calibration cold"]),
        (["--max-new-tokens", "0"], ["--max-new-tokens 0"]),
        (["--max-new-tokens", "120"], ["--max-new-tokens 120: choose 1 to"]),
        (["--top-logprobs", "0"], ["--top-logprobs 0"]),
        (["--max-steps", "-1"], ["--max-steps -1"]),
        (["--learning-rate", "nan"], ["--learning-rate nan"]),
        (["--method", "prefix"], ["No such option: --method"]),
        (["--resume"], ["nothing to resume", "run.json is missing"]),
        (["--output", "."], ["--output . has no name"]),
        (["--validation", "/gone.jsonl"], ["file not found: /gone.jsonl"]),
    ],
    ids=" ".join,
)
def test_distil_rejects_invalid_settings(distil: Distil, output: Path, options: list[str], words: list[str]) -> None:
    distil(*options).refused(*words)
    assert not output.parent.exists()


def test_distil_without_a_text_or_inputs_is_rejected(distil: Distil, output: Path) -> None:
    distil(source=()).refused("one text is distilled, and none is given: pass --context")
    distil(data=None).refused("there are no inputs to learn from: pass --data", "--num-virtual-tokens all")
    distil("--labels", "good,bad", data=None).refused("there are no inputs to learn from")
    assert not output.parent.exists()


@pytest.mark.parametrize("virtual_tokens", ["3", "all"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["text.txt is empty: pass a file with the text to distill"]),
        (b" \n\t\n", ["text.txt is empty"]),
        (b"PK\x03\x04\0\0", ["text.txt is a binary file"]),
        ("café au lait".encode("latin-1"), ["text.txt is not a text in UTF-8", "at byte 3", "convert it"]),
        ("film".encode("utf-16"), ["text.txt is not a text in UTF-8", "at byte 0"]),
        (b"scene " * 150, ["the text has", "tokens, and the window of", "has 128", "shorten the text"]),
        (None, ["file not found", "text.txt"]),
    ],
    ids=["empty", "blank", "binary", "latin-1", "utf-16", "longer than the window", "missing"],
)
def test_distil_rejects_unreadable_texts(
    distil: Distil, instruction: Path, output: Path, content: bytes | None, words: list[str], virtual_tokens: str
) -> None:
    instruction.unlink()
    if content is not None:
        instruction.write_bytes(content)
    distil("--num-virtual-tokens", virtual_tokens).refused(*words)
    assert not output.parent.exists()


def test_distil_rejects_a_folder_as_text(distil: Distil, tmp_path: Path, output: Path) -> None:
    distil(source=("--context", tmp_path)).refused("is a folder: pass a text file")
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], ["has no examples"]),
        (
            [{"title": "a", "body": "b"}],
            ["bad.jsonl:1 has no field `input`, `text`", "its fields are title, body", "pass --map, or a --template"],
        ),
        ([["a"]], ["bad.jsonl, row 1: expected an object"]),
        ([{"input": "a"}, {"input": None}], ["bad.jsonl:2"]),
        ([{"input": ["a"]}], ["bad.jsonl:1: field 'input' is list, not text"]),
        ([{"input": "\ud83d"}], ["bad.jsonl:1", "not valid Unicode text"]),
        ([{"messages": [{"role": "user", "content": "a"}]}], ["has no chat template"]),
    ],
)
def test_distil_rejects_inputs_that_do_not_fit(
    distil: Distil, tmp_path: Path, output: Path, rows: list[Any], words: list[str]
) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))  # ASCII, which can express lone surrogates
    distil(data=data).refused(*words)
    assert not output.parent.exists()


def test_inputs_may_have_more_fields_and_any_usual_name(distil: Distil, write_jsonl: WriteJsonl) -> None:
    rows = [{"question": "a", "id": 3, "meta": {"tags": ["x"]}}, {"text": 4, "input": None}, {"sentence": "b", "id": 5}]
    assert distil(data=write_jsonl("more.jsonl", rows)).code == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": "great"}], ["shots.jsonl:1 has neither a field 'label' nor 'output'"]),
        (
            [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
            ["examples of chat make no few-shot prompt", "'input' and 'output'"],
        ),
        ([{"text": "great", "label": "good"}], ["at least two different labels"]),
    ],
)
def test_distil_rejects_examples_that_make_no_few_shot_prompt(
    distil: Distil, write_jsonl: WriteJsonl, output: Path, rows: list[Any], words: list[str]
) -> None:
    distil(source=("--examples", write_jsonl("shots.jsonl", rows))).refused(*words)
    assert not output.parent.exists()


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_distil_rejects_models_that_read_no_text_in_advance(
    distil: Distil, family: str, tmp_path: Path, output: Path
) -> None:
    distil("--model", saved_model(tmp_path / family, 0, family)).refused("only causal models")
    assert not output.parent.exists()


def test_distil_rejects_several_processes(distil: Distil, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    distil().refused("distillation runs in one process: start it without accelerate launch or torchrun")
    assert not output.parent.exists()


def test_truncated_inputs_are_counted(distil: Distil, write_jsonl: WriteJsonl) -> None:
    ran = distil(data=write_jsonl("long.jsonl", [{"input": "scene " * 200}, {"input": "a"}]))
    assert ran.code == 0
    assert "1 of 2 inputs were truncated" in ran.err


def test_unknown_labels_of_inputs_are_counted_and_ignored(distil: Distil, write_jsonl: WriteJsonl) -> None:
    rows = [{"text": f"film {i}", "label": ("good", "ugly")[i % 2]} for i in range(6)]
    ran = distil("--labels", "good,bad", "--force", data=write_jsonl("ugly.jsonl", rows))
    assert ran.code == 0
    assert "the labels of 3 of 6 inputs are ignored" in ran.err
    assert "'ugly' at" in ran.err


def test_validation_inputs_that_are_trained_on_are_reported(distil: Distil, inputs: Path) -> None:
    ran = distil("--validation", inputs)
    assert "--validation holds the same inputs as --data" in ran.err


@pytest.mark.parametrize("options", [["--dtype", "bfloat16"], ["--dtype", "float16"], ["--gradient-checkpointing"]])
@pytest.mark.parametrize("labels", [[], ["--labels", "good,bad", "--template", "{input} is"]])
def test_distil_with_less_memory(distil: Distil, inputs: Path, options: list[str], labels: list[str]) -> None:
    metrics = distil(*options, *labels, "--validation", inputs, "--json").json["metrics"]
    assert all(value == value for value in metrics.values())


DOCUMENT = "The film was great fun.\n\nThe food is awful."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num-questions", "0"], ["--num-questions 0"]),
        (["--template", "{one} {two}"], ["the template has several fields (one, two)"]),
        (["--max-new-tokens", "60"], ["tokens of the window for a question and its answer", "choose a smaller"]),
        (["--validation", "/gone.jsonl"], ["file not found: /gone.jsonl"]),
        (["--labels", "good,bad"], ["the model cannot write inputs of a classification: pass them as --data"]),
        (["--questions", "/gone.jsonl"], ["file not found: /gone.jsonl"]),
    ],
    ids=" ".join,
)
def test_distil_rejects_a_document_before_questions_are_written(
    distil: Distil, instruction: Path, output: Path, options: list[str], words: list[str]
) -> None:
    instruction.write_text(DOCUMENT)
    distil(*options, source=("--document", instruction), data=None).refused(*words)
    assert not output.parent.exists()


def test_questions_belong_to_a_document(distil: Distil, instruction: Path, inputs: Path) -> None:
    words = "--questions are inputs about a --document, instead of --data"
    distil("--questions", inputs).refused(words)
    distil("--questions", inputs, source=("--document", instruction)).refused(words)


def test_a_document_is_studied(distil: Distil, instruction: Path, output: Path) -> None:
    instruction.write_text(DOCUMENT)
    ran = distil("--num-questions", 8, source=("--document", instruction), data=None)
    assert ran.code == 0, ran.err
    assert SavedPrompt.from_folder(output).manifest.method["source"]["kind"] == "document"


@pytest.mark.parametrize("damaged", [None, "", "{", "[]", '{"input": 3}', "\udce9"])
def test_a_document_is_studied_again_if_its_questions_are_damaged(
    distil: Distil, softprompt: Softprompt, instruction: Path, output: Path, damaged: str | None
) -> None:
    instruction.write_text(DOCUMENT.replace("great", "great\u2028\x85"), "utf-8")
    assert distil("--num-questions", 8, source=("--document", instruction), data=None).code == 0
    before, questions = files(output), output.with_name("p.run") / "questions.jsonl"
    if damaged is not None:
        questions.write_text(damaged, "utf-8", "surrogateescape")
    (output.with_name("p.run") / "teacher.safetensors").unlink()
    assert softprompt("distil", "--output", output, "--resume").code == 0
    assert files(output) == before
