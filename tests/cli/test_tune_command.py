"""`softprompt tune`: its options, its files, and its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.cli.option_parser import unescape_template
from softprompt.saved import SavedPrompt
from tests.cli.conftest import Softprompt, Tune, files, logged
from tests.conftest import REVIEWS

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def test_tune_json_has_the_prompt_and_its_metrics(tune: Tune, reviews: Path, output: Path) -> None:
    found = tune("--validation", reviews, "--json").json
    assert set(found) == {
        "prompt",
        "steps",
        "seconds",
        "useful_tokens_per_second",
        "best",
        "untrained_prompt",
        "hard_prompt",
    }
    assert found["prompt"] == str(output)
    assert found["steps"] == 3
    assert found["seconds"] > 0
    assert found["useful_tokens_per_second"] > 0
    assert {"step", "accuracy"} <= set(found["best"])
    assert 1 <= found["best"]["step"] <= 3
    assert SavedPrompt.from_folder(output).manifest.metrics["validation"]["accuracy"] == found["best"]["accuracy"]


def test_tune_reports_the_evaluation_with_the_best_accuracy_and_loss(tune: Tune, reviews: Path, output: Path) -> None:
    found = tune("--validation", reviews, "--eval-steps", 1, "--json").json
    evaluations = [line for line in logged(output) if "validation" in line]
    best = max(evaluations, key=lambda e: (e["validation"]["accuracy"], -e["validation"]["loss"]))
    assert found["best"] == {"step": best["step"], **best["validation"]}


def test_tune_without_validation_examples_reports_no_best_step(tune: Tune) -> None:
    ran = tune("--json")
    assert ran.json["best"] is None
    assert "too few examples to hold some out" in ran.err


def test_tune_prints_a_summary_and_the_next_command(tune: Tune, reviews: Path, output: Path) -> None:
    ran = tune("--validation", reviews)
    out = ran.out.replace("\n", " ")
    assert ran.code == 0
    for words in ("3 steps", "useful tokens/s", "Best on the validation examples", "softprompt classify"):
        assert words in out
    assert "step 3 validation accuracy" in ran.err
    assert "starts from keys and values of text" in ran.err


def test_tune_of_a_generation_prompt_reports_perplexity(
    softprompt: Softprompt, base: Path, pairs: Path, output: Path
) -> None:
    options = ("--model", base, "--data", pairs, "--validation", pairs, "--output", output, "--max-steps", 2)
    found = softprompt("tune", *options, "--json").json
    assert set(found["best"]) == {"step", "perplexity", "loss"}
    out = softprompt("tune", *options, "--overwrite").out.replace("\n", " ")
    assert "perplexity" in out
    assert "softprompt generate" in out


def test_tune_writes_a_run_folder(tune: Tune, output: Path) -> None:
    assert tune().code == 0
    assert set(files(output.with_name("p.run"))) == {
        "run.json",
        "metrics.jsonl",
        "loss.png",
        "checkpoint.safetensors",
    }
    assert [line["step"] for line in logged(output)] == [1, 2, 3]


# Options


def test_labels_with_commas_are_parsed_from_quotes(tune: Tune, output: Path, write_jsonl: WriteJsonl) -> None:
    labels = ["Food, drinks", "Staff=service"]
    data = write_jsonl("a.jsonl", [{"text": f"text {i}", "label": labels[i % 2]} for i in range(12)])
    words = '"Food, drinks"=food,"Staff=service"="the staff, at work"'
    ran = tune("--labels", '"Food, drinks",Staff=service', "--verbalizer", words, data=data)
    assert ran.code == 0, ran.err
    task = SavedPrompt.from_folder(output).manifest.task
    assert task.labels == tuple(labels)
    assert task.words == {"Food, drinks": "food", "Staff=service": "the staff, at work"}


def test_similar_labels_are_reported_and_white_space_around_labels_is_ignored(
    tune: Tune, write_jsonl: WriteJsonl
) -> None:
    rows = [*REVIEWS, {"text": "fine", "label": "good "}, {"text": "so so", "label": "Good"}]
    ran = tune("--template", "{text} so", data=write_jsonl("a.jsonl", rows))
    assert ran.code == 0, ran.err
    assert "'good' (13 examples) and 'Good' (1 example) look alike" in ran.err


@pytest.mark.parametrize(
    ("template", "note"),
    [
        ("<s>{text} so", "the template contains <s>, which"),
        ("<|begin_of_text|>{text} so", "begins with <|begin_of_text|>, which is not a special token of"),
    ],
)
def test_unnecessary_special_tokens_in_a_template_are_reported(tune: Tune, template: str, note: str) -> None:
    ran = tune("--template", template)
    assert ran.code == 0, ran.err
    assert ran.err.count(note) == 1
    assert note not in tune("--template", "{text} so", "--overwrite").err


def test_several_words_for_a_label_are_rejected(tune: Tune) -> None:
    assert "exactly 'great|lovely'" in tune("--verbalizer", "good=great|lovely").err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"Review: {text}\nIt is", "Review: {text}\nIt is"),
        (r"{text}\tIt is", "{text}\tIt is"),
        (r"{text}\\nIt is", r"{text}\nIt is"),
        (r"{text}\dIt is é标签", r"{text}\dIt is é标签"),
        ("{text}\nIt is", "{text}\nIt is"),
    ],
)
def test_escapes_in_a_template_option_are_decoded(typed: str, meant: str) -> None:
    assert unescape_template(typed) == meant


def test_tune_options_are_saved_in_the_manifest(tune: Tune, output: Path) -> None:
    options = ["--template", r"Review: {text}\nIt is", "--labels", "good, bad", "--verbalizer", "good=great,bad=awful"]
    assert tune(*options, "--method", "prompt", "--init", "vocab", "--seed", 7).code == 0
    manifest = SavedPrompt.from_folder(output).manifest
    assert manifest.task.template == "Review: {text}\nIt is"
    assert manifest.task.labels == ("good", "bad")
    assert manifest.task.model_dump()["words"] == {"good": "great", "bad": "awful"}
    assert manifest.payload == "embeddings"
    assert (manifest.method["name"], manifest.method["init"], manifest.method["seed"]) == ("prompt", "vocab", 7)


def test_tune_reads_settings_from_a_config_file(
    softprompt: Softprompt, base: Path, reviews: Path, output: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(
        f'model = "{base}"\ndata = "{reviews}"\noutput = "{output}"\nmethod = "prompt"\nmax_steps = 2\n'
        'num-virtual-tokens = 4\nbatch_size = 4\nlabels = ["good", "bad"]\ntemplate = "{text}\\nIt is"\n'
        '[verbalizer]\ngood = "great"\n'
    )
    assert softprompt("tune", "--config", tmp_path / "run.toml", "--json").json["steps"] == 2
    manifest = SavedPrompt.from_folder(output).manifest
    assert (manifest.method["name"], manifest.num_virtual_tokens) == ("prompt", 4)
    assert manifest.task.labels == ("good", "bad")
    assert manifest.task.template == "{text}\nIt is"


def test_command_line_options_override_the_config_file(tune: Tune, output: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('max-steps = 9\nnum-virtual-tokens = 9\nmethod = "prompt"\nseed = 5\n')
    assert tune("--config", tmp_path / "run.toml", "--method", "prefix", "--json").json["steps"] == 3
    manifest = SavedPrompt.from_folder(output).manifest
    assert (manifest.method["name"], manifest.num_virtual_tokens, manifest.method["seed"]) == ("prefix", 3, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz = 3", ["run.toml: unknown setting 'stepz'", "num-virtual-tokens"]),
        ("max-steps =", ["run.toml is not valid TOML"]),
        ("max-steps = 'many'", ["--max-steps many"]),
        ("learning_rate = -1.0", ["--learning-rate -1.0", "greater than 0"]),
        ('labels = "good,bad"', ["--labels good,bad"]),
    ],
)
def test_tune_rejects_invalid_config_files(
    softprompt: Softprompt, reviews: Path, output: Path, tmp_path: Path, text: str, words: list[str]
) -> None:
    (tmp_path / "run.toml").write_text(text)
    ran = softprompt("tune", "--data", reviews, "--output", output, "--config", tmp_path / "run.toml")
    ran.refused(*words)
    assert not output.parent.exists()


def test_tune_rejects_a_missing_config_file(tune: Tune, tmp_path: Path) -> None:
    tune("--config", tmp_path / "gone.toml").refused("file not found", "gone.toml")


def test_tune_reports_the_number_of_truncated_texts(tune: Tune, reviews: Path, write_jsonl: WriteJsonl) -> None:
    long = [{"text": "scene " * 300, "label": "good"}, {"text": "scene " * 200, "label": "bad"}]
    ran = tune("--validation", write_jsonl("long.jsonl", long), data=write_jsonl("a.jsonl", [*REVIEWS, *long]))
    assert ran.code == 0
    assert "2 of 26 training texts were truncated to the model's context window" in ran.err
    assert "2 of 2 validation texts were truncated to the model's context window" in ran.err
    assert "cut to fit" not in tune("--overwrite").err


def test_tune_replaces_an_existing_prompt_only_with_overwrite(tune: Tune, output: Path) -> None:
    assert tune().code == 0
    before = files(output.parent)
    tune("--method", "prompt").refused(f"{output} exists", "--overwrite")
    assert files(output.parent) == before
    assert tune("--method", "prompt", "--overwrite").code == 0
    assert SavedPrompt.from_folder(output).manifest.method["name"] == "prompt"


def test_tune_never_replaces_a_folder_that_is_not_a_saved_prompt(tune: Tune, output: Path) -> None:
    output.mkdir(parents=True)
    (output / "photo.jpg").write_bytes(b"a picture")
    tune("--overwrite").refused(f"{output} exists and is not a saved prompt")
    assert files(output.parent) == {"p/photo.jpg": b"a picture"}


def test_an_overwriting_run_that_fails_leaves_the_prompt_unchanged(tune: Tune, output: Path) -> None:
    assert tune().code == 0
    before = files(output)
    tune("--overwrite", "--method", "lora").refused("unknown method")
    tune("--overwrite", "--template", "{review}").refused("{review}")
    assert files(output) == before


def test_a_prompt_is_initialized_from_another_prompt(tune: Tune, output: Path) -> None:
    assert tune("--method", "prompt").code == 0
    first = output.rename(output.with_name("first"))
    assert tune("--method", "prefix", "--init", f"prompt:{first}", "--overwrite").code == 0
    assert SavedPrompt.from_folder(output).manifest.method["init"] == f"prompt:{first}"
    tune("--overwrite", "--init", f"prompt:{first}", "--num-virtual-tokens", "4").refused(
        "choose --num-virtual-tokens 3"
    )


def test_multitask_tuning_saves_a_prompt_per_task(tune: Tune, output: Path, write_jsonl: WriteJsonl) -> None:
    mixed = write_jsonl(
        "mixed.jsonl", [{**row, "domain": ("film", "song")[i // 4 % 2]} for i, row in enumerate(REVIEWS)]
    )
    told = tune("--method", "multitask", "--task-field", "domain", "--json", data=mixed).json["task_prompts"]
    assert told == {name: str(output / "tasks" / name) for name in ("film", "song")}
    assert {SavedPrompt.from_folder(folder).manifest.method["name"] for folder in told.values()} == {"multitask"}
    ran = tune("--method", "multitask", "--task-field", "domain", "--task-rank", 2, "--overwrite", data=mixed)
    assert str(output / "tasks" / "film") in ran.out
    assert f"--init prompt:{output}" in ran.out


def test_a_note_of_all_runs_of_a_sweep_is_printed_once(tune: Tune, reviews: Path, output: Path) -> None:
    ran = tune("--validation", reviews, "--sweep", "seed=0,1,2")
    assert ran.code == 0
    assert " ".join(ran.err.split()).count("holds the same examples as") == 1
