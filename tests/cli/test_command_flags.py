"""Messages of the library with the running command's flags; the same mistakes in Python name parameters."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

import softprompt as package
from softprompt.cli.command_flags import CommandFlags, FlagFormatter
from softprompt.cli.main import app as program
from softprompt.errors import SoftPromptError
from softprompt.evaluation.prompt_similarity import compute_prompt_similarity
from softprompt.registry import PromptRegistry
from tests.cli.conftest import Softprompt

app = typer.Typer()
group = typer.Typer(name="group")
app.add_typer(group)


@group.callback()
def grouped() -> None:
    """Group of commands."""


@app.command()
@group.command()
def run(
    folder: Annotated[Path, typer.Argument()],
    learning_rate: float = 0.1,
    placement: str = "before",
    map_: Annotated[str, typer.Option("--map")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    activate: bool = True,
    max_parallel: Annotated[int, typer.Option("--parallel", "-c")] = 1,
    labels: str = "",
) -> None:
    """Command with parameters of every kind."""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("try `learning_rate=0.05`", "try --learning-rate 0.05"),
        ("`learning_rate=nan`: no number", "--learning-rate nan: no number"),
        ("another `learning_rate`", "another --learning-rate"),
        ('choose `placement="before"`', "choose --placement before"),
        ("`placement='two words'`", "--placement 'two words'"),
        ('`placement="it\'s"`', """--placement 'it'"'"'s'"""),
        (r"`placement='a\nb'`", r"--placement 'a\nb'"),
        ("give `map={'text': 'FIELD'}`", "give --map text=FIELD"),
        ("`labels=['good', 'bad']` and `labels=[1]`", "--labels good,bad and --labels 1"),
        ("`labels=None`", "`labels=None`"),
        ("`overwrite=True` or `overwrite`", "--overwrite or --overwrite"),
        ("`overwrite=False`", "`overwrite=False`"),
        ("`activate=True`, `activate=False`", "--activate, --no-activate"),
        ("too many `max_parallel`", "too many --parallel"),
        ("another `folder`, as `folder='a b'`", "another FOLDER, as 'a b'"),
        (
            '`head="linear"` and `rate` and `softprompt show PROMPT`',
            '`head="linear"` and `rate` and `softprompt show PROMPT`',
        ),
        ("the label '`labels`' stays", "the label '`labels`' stays"),
    ],
)
@pytest.mark.parametrize("typed", [["run", "x", "--activate"], ["group", "run", "x"]], ids="-".join)
def test_messages_name_flags_of_the_command(typed: list[str], message: str, expected: str) -> None:
    assert CommandFlags.from_arguments(get_command(app), typed).insert_into(message) == expected


@pytest.mark.parametrize("typed", [[], ["group"], ["none"], ["--help"], ["none", "x"]], ids=str)
def test_messages_without_a_command_are_unchanged(typed: list[str]) -> None:
    assert CommandFlags.from_arguments(get_command(app), typed).insert_into("`learning_rate`") == "`learning_rate`"


def test_log_lines_name_flags_of_the_command() -> None:
    record = logging.LogRecord("softprompt", logging.INFO, "", 0, "no `%s`: %d held out", ("labels", 3), None)
    assert (
        FlagFormatter(CommandFlags.from_arguments(get_command(app), ["run"])).format(record)
        == "no --labels: 3 held out"
    )


def test_parameters_with_other_names_are_replaced_by_their_flags() -> None:
    said = CommandFlags.from_arguments(get_command(program), ["tune"]).insert_into(
        "`gradient_checkpointing=True` `format` `map` `as_json` `device='cpu'`"
    )
    assert said == "--gradient-checkpointing --format --map --json --device cpu"
    assert (
        CommandFlags.from_arguments(get_command(program), ["keys", "create"]).insert_into("`expires_in` `location`")
        == "--expires-in-days --store"
    )
    assert (
        CommandFlags.from_arguments(get_command(program), ["prompts", "add"]).insert_into(
            "`artifact_location='s3://a/b'`"
        )
        == "--artifact-location s3://a/b"
    )
    assert CommandFlags.from_arguments(get_command(program), ["classify"]).insert_into("`texts`") == "TEXTS"


Tuning = Callable[..., Any]


@pytest.mark.parametrize(
    ("settings", "python", "typed"),
    [
        ({"learning_rate": -0.1}, "`learning_rate=-0.1`: input", "--learning-rate -0.1: input"),
        ({"max_steps": 0}, "`max_steps=0`: input", "--max-steps 0: input"),
        ({"placement": "middle"}, "`placement='middle'`: input", "--placement middle: input"),
        ({"task": "translation"}, "`task='translation'`: input", "--task translation: input"),
        ({"layers": 99}, "`layers=99`: ", "--layers 99: "),
        ({"method": "multitask"}, "name them with `task_field`", "name them with --task-field"),
        (
            {"task_field": "label"},
            '`task_field` out, or choose `method="multitask"`',
            "--task-field out, or choose --method multitask",
        ),
        ({"template": "{review} so"}, "`map={'review': 'FIELD'}`", "--map review=FIELD"),
        (
            {"template": "{text} so", "placement": "in-template"},
            '`placement="in-template"`: ',
            "--placement in-template: ",
        ),
        ({"method": "context", "num_virtual_tokens": 5}, "pass `num_virtual_tokens=", "pass --num-virtual-tokens "),
        (
            {"method": "context", "num_virtual_tokens": 5},
            '`init="text:YOUR TEXT"`',
            "--init 'text:YOUR TEXT'",
        ),
        ({"method": "prompt", "freeze_sink": True}, '`encoder="none"`', "--encoder none"),
        (
            {"label_field": "stars", "response_field": "answer"},
            "`label_field` or `response_field`",
            "--label-field or --response-field",
        ),
        ({"task": "chat", "labels": ["a", "b"]}, "`labels` and `verbalizer` are", "--labels and --verbalizer are"),
        (
            {"verbalizer": {"ugly": "x"}},
            "`verbalizer` has words for unknown labels: ugly",
            "--verbalizer has words for unknown labels: ugly",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_errors_of_tune_name_flags_or_parameters(
    softprompt: Softprompt,
    base: Path,
    reviews: Path,
    output: Path,
    settings: dict[str, Any],
    python: str,
    typed: str,
) -> None:
    with pytest.raises(SoftPromptError) as caught:
        package.tune(str(base), data=reviews, output=output, **{"num_virtual_tokens": 3, **settings})
    assert python in str(caught.value)
    assert "--" not in str(caught.value)
    options = [word for name, value in settings.items() for word in as_typed(name, value)]
    ran = softprompt(
        "tune", "--model", base, "--data", reviews, "--output", output, "--num-virtual-tokens", 3, *options
    )
    ran.refused(typed)
    assert "`" not in ran.err


def as_typed(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    match value:
        case True:
            return [flag]
        case list():
            return [flag, ",".join(value)]
        case dict():
            return [flag, ",".join(f"{key}={word}" for key, word in value.items())]
    return [flag, str(value)]


def test_a_missing_output_is_reported_as_flag_or_parameter(softprompt: Softprompt, reviews: Path) -> None:
    with pytest.raises(SoftPromptError, match="^`output` is missing$"):
        package.tune(data=reviews)
    softprompt("tune", "--data", reviews).refused("error: --output is missing")


def test_errors_of_a_settings_file_name_the_setting(
    softprompt: Softprompt, reviews: Path, output: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text("learning-rate = -1\n")
    given = ("--data", reviews, "--output", output)
    softprompt("tune", *given, "--config", tmp_path / "run.toml").refused("--learning-rate -1: input")
    (tmp_path / "run.toml").write_text("pace = 1\n")
    softprompt("tune", *given, "--config", tmp_path / "run.toml").refused(
        "run.toml: unknown setting 'pace': choose one of model"
    )


def test_an_existing_output_is_reported_with_the_overwrite_flag_or_parameter(
    softprompt: Softprompt, base: Path, reviews: Path, classifier: Path
) -> None:
    with pytest.raises(SoftPromptError, match="replace it with `overwrite=True`"):
        package.tune(str(base), data=reviews, output=classifier)
    softprompt("tune", "--data", reviews, "--output", classifier).refused("replace it with --overwrite")
    softprompt("compose", classifier, classifier, "--output", classifier).refused("replace it with --overwrite")


def test_notes_of_tune_name_flags(
    softprompt: Softprompt, base: Path, reviews: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package.tune(str(base), data=reviews, output=output.with_name("q"), num_virtual_tokens=3, max_steps=1)
    ran = softprompt(
        "tune",
        "--model",
        base,
        "--data",
        reviews,
        "--output",
        output,
        "--num-virtual-tokens",
        3,
        "--max-steps",
        1,
        "--json",
    )
    assert ran.code == 0, ran.err
    assert "no --validation: " in ran.err or "no validation examples" in ran.err


def test_errors_of_sampling_parameters_name_flags_or_parameters(
    softprompt: Softprompt, base: Path, writer: Path
) -> None:
    model, prompt = package.load_model(str(base)), package.SavedPrompt.from_folder(writer)
    with pytest.raises(SoftPromptError, match="^`top_p=2.0`: choose 0 to 1$"):
        package.SamplingParams(top_p=2.0)
    with pytest.raises(SoftPromptError, match="`max_new_tokens=999`: choose 1 to"):
        list(package.respond(model, prompt, "food: tea", package.SamplingParams(max_new_tokens=999)))
    line = ("generate", writer, "--prompt", "food: tea")
    softprompt(*line, "--max-new-tokens", 999).refused("--max-new-tokens 999: choose 1 to")


def test_data_of_an_ambiguous_format_is_reported_with_the_format_flag_or_parameter(
    softprompt: Softprompt, write_jsonl: Callable[..., Path], output: Path
) -> None:
    both = write_jsonl("a.jsonl", [{"text": "a", "label": "b", "input": "c", "output": "d"}] * 4)
    with pytest.raises(SoftPromptError, match='choose `format="classification"` or `format="input-output"`'):
        package.tune(data=both, output=output)
    softprompt("tune", "--data", both, "--output", output).refused(
        "choose --format classification or --format input-output"
    )


def test_errors_of_the_registry_name_flags_or_parameters(softprompt: Softprompt, tmp_path: Path) -> None:
    with pytest.raises(SoftPromptError, match="or set `location` to another one"):
        PromptRegistry.open(tmp_path / "none")
    softprompt("prompts", "list", "--store", tmp_path / "none").refused("or set --store to another one")
    with (
        PromptRegistry.open(tmp_path / "store", create=True) as store,
        pytest.raises(SoftPromptError, match="`expires_in`"),
    ):
        store.api_keys.create_key("acme", "use", expires_in=timedelta(days=-1))


def test_similarity_of_different_payloads_suggests_export_as_a_prefix(
    base: Path, classifier: Path, writer: Path, softprompt: Softprompt
) -> None:
    with pytest.raises(SoftPromptError, match="`SavedPrompt.to_prefix`, or `softprompt export --format prefix`"):
        compute_prompt_similarity(
            [package.SavedPrompt.from_folder(classifier), package.SavedPrompt.from_folder(writer)]
        )
    softprompt("similarity", classifier, writer).refused("`softprompt export --format prefix`")


def test_errors_of_compare_name_flags_or_parameters(
    softprompt: Softprompt, base: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {"data": reviews, "test": reviews, "model": str(base)}
    line = ("compare", "--model", base, "--data", reviews, "--test", reviews, "--output", tmp_path / "report")
    with pytest.raises(SoftPromptError, match="`methods` contains hard more than once"):
        package.compare(**settings, output=tmp_path / "report", methods=["hard", "hard"])
    softprompt(*line, "--methods", "hard,hard").refused("--methods contains hard more than once")
    with pytest.raises(SoftPromptError, match="`sweep` varies .* `methods` contains no soft prompt"):
        package.compare(**settings, output=tmp_path / "report", methods=["hard"], sweep={"layers": ["1"]})
    softprompt(*line, "--methods", "hard", "--sweep", "layers=1").refused(
        "--sweep varies", "--methods contains no soft prompt"
    )
    with pytest.raises(SoftPromptError, match="pass `allow_overlap=True`"):
        package.compare(**settings, validation=reviews, output=tmp_path / "report", methods=["hard"])
    softprompt(*line, "--validation", reviews, "--methods", "hard").refused("pass --allow-overlap")


def test_errors_of_failed_sweep_runs_name_flags(
    softprompt: Softprompt, base: Path, reviews: Path, output: Path
) -> None:
    given = (
        "tune",
        "--model",
        base,
        "--data",
        reviews,
        "--output",
        output,
        "--num-virtual-tokens",
        3,
        "--max-steps",
        2,
    )
    ran = softprompt(*given, "--sweep", "lr=0.01,1000", "--json")
    assert "`learning_rate" not in ran.err + ran.out
    if ran.code:  # the one with the absurd rate diverged
        assert "--learning-rate" in ran.err
        assert "--learning-rate" in json.loads(ran.out)["runs"]["lr=1000"]["error"]
