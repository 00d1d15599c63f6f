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

import softprompt as package
from softprompt.cli.flags import FlagFormatter, Flags
from softprompt.cli.main import app as program
from softprompt.errors import SoftPromptError
from softprompt.evaluation.similarity import similarity
from softprompt.store import Store
from tests.cli.conftest import Softprompt

app = typer.Typer()
group = typer.Typer(name="group")
app.add_typer(group)


@group.callback()
def grouped() -> None:
    """Holds commands."""


@app.command()
@group.command()
def run(
    folder: Annotated[Path, typer.Argument()],
    learning_rate: float = 0.1,
    placement: str = "before",
    map_: Annotated[str, typer.Option("--map")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite")] = False,
    activate: bool = True,
    at_once: Annotated[int, typer.Option("--concurrency", "-c")] = 1,
    labels: str = "",
) -> None:
    """Has parameters of every kind."""


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
        ("too many `at_once`", "too many --concurrency"),
        ("another `folder`, as `folder='a b'`", "another FOLDER, as 'a b'"),
        (
            '`head="linear"` and `rate` and `softprompt show PROMPT`',
            '`head="linear"` and `rate` and `softprompt show PROMPT`',
        ),
        ("the label '`labels`' stays", "the label '`labels`' stays"),
    ],
)
@pytest.mark.parametrize("typed", [["run", "x", "--activate"], ["group", "run", "x"]], ids="-".join)
def test_a_message_with_flags(typed: list[str], message: str, expected: str) -> None:
    assert Flags.of(app, typed).put_in(message) == expected


@pytest.mark.parametrize("typed", [[], ["group"], ["none"], ["--help"], ["none", "x"]], ids=str)
def test_no_command_has_no_flags(typed: list[str]) -> None:
    assert Flags.of(app, typed).put_in("`learning_rate`") == "`learning_rate`"


def test_a_log_line_with_flags() -> None:
    record = logging.LogRecord("softprompt", logging.INFO, "", 0, "no `%s`: %d held out", ("labels", 3), None)
    assert FlagFormatter(Flags.of(app, ["run"])).format(record) == "no --labels: 3 held out"


def test_every_parameter_of_every_command_has_a_flag() -> None:
    said = Flags.of(program, ["tune"]).put_in("`gradient_checkpointing=True` `format` `map` `as_json` `device='cpu'`")
    assert said == "--gradient-checkpointing --format --map --json --device cpu"
    assert Flags.of(program, ["keys", "create"]).put_in("`expires_in` `place`") == "--expires --store"
    assert Flags.of(program, ["prompts", "add"]).put_in("`prompts='s3://a/b'`") == "--prompts-at s3://a/b"
    assert Flags.of(program, ["classify"]).put_in("`texts`") == "TEXTS"


Tuning = Callable[..., Any]


@pytest.mark.parametrize(
    ("settings", "python", "typed"),
    [
        ({"learning_rate": -0.1}, "`learning_rate=-0.1`: input", "--learning-rate -0.1: input"),
        ({"steps": 0}, "`steps=0`: input", "--steps 0: input"),
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
        ({"method": "context", "virtual_tokens": 5}, "choose `virtual_tokens=", "choose --virtual-tokens "),
        (
            {"method": "context", "virtual_tokens": 5},
            '`init="text:words of your own"`',
            "--init 'text:words of your own'",
        ),
        ({"method": "prompt", "freeze_sink": True}, '`encoder="none"`', "--encoder none"),
        (
            {"label_field": "stars", "response_field": "answer"},
            "`label_field` or `response_field`",
            "--label-field or --response-field",
        ),
        ({"task": "chat", "labels": ["a", "b"]}, "`labels` and `verbalizer` are", "--labels and --verbalizer are"),
        ({"verbalizer": {"ugly": "x"}}, "`verbalizer` has words for ugly", "--verbalizer has words for ugly"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_setting_of_tune(
    softprompt: Softprompt,
    base: Path,
    reviews: Path,
    output: Path,
    settings: dict[str, Any],
    python: str,
    typed: str,
) -> None:
    with pytest.raises(SoftPromptError) as caught:
        package.tune(str(base), data=reviews, output=output, **{"virtual_tokens": 3, **settings})
    assert python in str(caught.value)
    assert "--" not in str(caught.value)
    options = [word for name, value in settings.items() for word in as_typed(name, value)]
    ran = softprompt("tune", "--model", base, "--data", reviews, "--output", output, "--virtual-tokens", 3, *options)
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


def test_a_setting_that_is_missing(softprompt: Softprompt, reviews: Path) -> None:
    with pytest.raises(SoftPromptError, match="^`output` is missing$"):
        package.tune(data=reviews)
    softprompt("tune", "--data", reviews).refused("error: --output is missing")


def test_a_setting_of_a_file(softprompt: Softprompt, reviews: Path, output: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("learning-rate = -1\n")
    given = ("--data", reviews, "--output", output)
    softprompt("tune", *given, "--config", tmp_path / "run.toml").refused("--learning-rate -1: input")
    (tmp_path / "run.toml").write_text("pace = 1\n")
    softprompt("tune", *given, "--config", tmp_path / "run.toml").refused(
        "run.toml: unknown setting 'pace': one of model"
    )


def test_an_output_that_is_taken(softprompt: Softprompt, base: Path, reviews: Path, classifier: Path) -> None:
    with pytest.raises(SoftPromptError, match="replace it with `overwrite=True`"):
        package.tune(str(base), data=reviews, output=classifier)
    softprompt("tune", "--data", reviews, "--output", classifier).refused("replace it with --overwrite")
    softprompt("compose", classifier, classifier, "--output", classifier).refused("replace it with --overwrite")


def test_a_note(
    softprompt: Softprompt, base: Path, reviews: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package.tune(str(base), data=reviews, output=output.with_name("q"), virtual_tokens=3, steps=1)
    ran = softprompt(
        "tune", "--model", base, "--data", reviews, "--output", output, "--virtual-tokens", 3, "--steps", 1, "--json"
    )
    assert ran.code == 0, ran.err
    assert "no --validation: " in ran.err or "no validation examples" in ran.err


def test_how_a_response_is_written(softprompt: Softprompt, base: Path, writer: Path) -> None:
    model, prompt = package.load_model(str(base)), package.SavedPrompt.read(writer)
    with pytest.raises(SoftPromptError, match="^`top_p=2.0`: choose above 0, up to 1$"):
        package.Sampling(top_p=2.0)
    with pytest.raises(SoftPromptError, match="`max_new_tokens=999`: choose 1 to"):
        list(package.respond(model, prompt, "food: tea", package.Sampling(max_new_tokens=999)))
    line = ("generate", writer, "--prompt", "food: tea")
    softprompt(*line, "--max-new-tokens", 999).refused("--max-new-tokens 999: choose 1 to")


def test_data_that_could_be_several(softprompt: Softprompt, write_jsonl: Callable[..., Path], output: Path) -> None:
    both = write_jsonl("a.jsonl", [{"text": "a", "label": "b", "input": "c", "output": "d"}] * 4)
    with pytest.raises(SoftPromptError, match='say `format="classification"` or `format="input-output"`'):
        package.tune(data=both, output=output)
    softprompt("tune", "--data", both, "--output", output).refused(
        "say --format classification or --format input-output"
    )


def test_a_store(softprompt: Softprompt, tmp_path: Path) -> None:
    with pytest.raises(SoftPromptError, match="`place` names another"):
        Store.open(tmp_path / "none")
    softprompt("prompts", "list", "--store", tmp_path / "none").refused("--store names another")
    with Store.open(tmp_path / "store", create=True) as store, pytest.raises(SoftPromptError, match="`expires_in`"):
        store.keys.create("acme", "use", expires_in=timedelta(days=-1))


def test_prompts_that_are_not_alike(base: Path, classifier: Path, writer: Path, softprompt: Softprompt) -> None:
    with pytest.raises(SoftPromptError, match="`SavedPrompt.compiled`, or `softprompt export --format prefix`"):
        similarity([package.SavedPrompt.read(classifier), package.SavedPrompt.read(writer)])
    softprompt("similarity", classifier, writer).refused("`softprompt export --format prefix`")


def test_a_comparison(softprompt: Softprompt, base: Path, reviews: Path, tmp_path: Path) -> None:
    settings = {"data": reviews, "test": reviews, "model": str(base)}
    line = ("compare", "--model", base, "--data", reviews, "--test", reviews, "--output", tmp_path / "report")
    with pytest.raises(SoftPromptError, match="`ways` names hard twice"):
        package.compare(**settings, output=tmp_path / "report", ways=["hard", "hard"])
    softprompt(*line, "--ways", "hard,hard").refused("--ways names hard twice")
    with pytest.raises(SoftPromptError, match="`sweep` varies .* `ways` names none"):
        package.compare(**settings, output=tmp_path / "report", ways=["hard"], sweep={"layers": ["1"]})
    softprompt(*line, "--ways", "hard", "--sweep", "layers=1").refused("--sweep varies", "--ways names none")
    with pytest.raises(SoftPromptError, match="allow it with `allow_overlap=True`"):
        package.compare(**settings, validation=reviews, output=tmp_path / "report", ways=["hard"])
    softprompt(*line, "--validation", reviews, "--ways", "hard").refused("allow it with --allow-overlap")


def test_runs_of_a_sweep_that_fail(softprompt: Softprompt, base: Path, reviews: Path, output: Path) -> None:
    given = ("tune", "--model", base, "--data", reviews, "--output", output, "--virtual-tokens", 3, "--steps", 2)
    ran = softprompt(*given, "--sweep", "lr=0.01,1000", "--json")
    assert "`learning_rate" not in ran.err + ran.out
    if ran.code:  # the one with the absurd rate diverged
        assert "--learning-rate" in ran.err
        assert "--learning-rate" in json.loads(ran.out)["runs"]["lr=1000"]["error"]
