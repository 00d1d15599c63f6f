"""Sweeps and task files."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.errors import DataError, SettingError
from softprompt.training.sweep import expand_sweep, load_runs_from_toml, parse_sweep

GIVEN = {"data": "train.jsonl", "output": "prompts", "max_steps": 5}


def test_every_combination_is_a_run_in_a_folder_of_its_name() -> None:
    runs = expand_sweep(GIVEN, parse_sweep("lr=0.01,0.003,seed=0,1,2"))
    assert list(runs) == [f"lr={rate},seed={seed}" for rate in ("0.01", "0.003") for seed in (0, 1, 2)]
    last = runs["lr=0.003,seed=2"]
    assert (last.learning_rate, last.seed, last.max_steps) == (0.003, 2, 5)
    assert last.output == Path("prompts/lr=0.003,seed=2")


def test_characters_invalid_in_folder_names_are_replaced() -> None:
    runs = expand_sweep(GIVEN, parse_sweep("init=text:one/two,vocab,num-virtual-tokens=3"))
    assert [str(run.output) for run in runs.values()] == [
        "prompts/init=text-one-two,num-virtual-tokens=3",
        "prompts/init=vocab,num-virtual-tokens=3",
    ]
    assert [run.init for run in runs.values()] == ["text:one/two", "vocab"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pace=1,2", "`sweep` cannot vary 'pace': choose one of validation, .*data, .*or lr"),
        ("output=a,b", "`sweep` cannot vary 'output': choose one of"),
        ("0,1", "write it like lr="),
        ("seed=", "write it like"),
        ("seed=0,,1", "write it like"),
        ("seed=0,seed=1", "has the setting seed twice"),
        ("labels=a", "`sweep` cannot vary 'labels': choose one of"),
    ],
)
def test_invalid_sweep_is_rejected(text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        parse_sweep(text)


def test_quoted_value_may_contain_commas() -> None:
    assert parse_sweep('init="text:one, two",labels,seed=0,1') == {
        "init": ["text:one, two", "labels"],
        "seed": ["0", "1"],
    }
    assert parse_sweep('template="{text}, so",{text}') == {"template": ["{text}, so", "{text}"]}
    with pytest.raises(SettingError, match="not closed"):
        parse_sweep('seed=0,"1')


def test_invalid_or_duplicate_value_is_rejected() -> None:
    with pytest.raises(SettingError, match="`seed='-1'`"):
        expand_sweep(GIVEN, parse_sweep("seed=0,-1"))
    with pytest.raises(SettingError, match="two runs would be named seed=1"):
        expand_sweep(GIVEN, parse_sweep("seed=1,1"))
    with pytest.raises(SettingError, match="`output` is missing"):
        expand_sweep({"data": "train.jsonl"}, parse_sweep("seed=0,1"))


TASKS = """
max-steps = 7
num-virtual-tokens = 5

[tasks.films]
data = "films.jsonl"

[tasks.songs]
data = "songs.jsonl"
max-steps = 3
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "tasks.toml"
    file.write_text(text, "utf-8")
    return file


def test_each_task_table_is_a_run(tmp_path: Path) -> None:
    runs = load_runs_from_toml(
        {"batch_size": 4, "max_steps": 99}, written(tmp_path, TASKS), {"output": tmp_path, "seed": 3}
    )
    films, songs = runs["films"], runs["songs"]
    assert (films.data, films.max_steps, films.num_virtual_tokens, films.batch_size, films.seed) == (
        "films.jsonl",
        7,
        5,
        4,
        3,
    )
    assert (songs.max_steps, songs.output) == (3, tmp_path / "songs")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (TASKS + "[tasks.films]\ndata = 'more.jsonl'\n", DataError, "two tasks are named 'films'"),
        ("max-steps = ", DataError, "the file is not valid TOML"),
        ("max-steps = 3", SettingError, "has no tasks: add a table"),
        ("tasks = 3", SettingError, "has no tasks"),
        ("[tasks.films]\ndata = 'a'\npace = 3", SettingError, "unknown setting 'pace'"),
        ("[tasks.films]\ndata = 'a'\nmodel = 'gpt2'", SettingError, "sets model, which all tasks share: move it above"),
        ("[tasks.'']\ndata = 'a'", SettingError, "'' cannot be the name of a run"),
        ("[tasks.'..']\ndata = 'a'", SettingError, "cannot be the name of a run"),
        ("[tasks.'a.run']\ndata = 'a'", SettingError, "cannot be the name of a run"),
        ("[tasks.'a b']\ndata = 'a'\n[tasks.'a-b']\ndata = 'a'", SettingError, "two runs would be named a-b"),
    ],
)
def test_invalid_task_file_is_rejected(text: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        load_runs_from_toml({}, written(tmp_path, text), {"output": tmp_path})


def test_overrides_take_precedence_over_the_file(tmp_path: Path) -> None:
    runs = load_runs_from_toml({}, written(tmp_path, TASKS), {"output": tmp_path, "max_steps": 2})
    assert [run.max_steps for run in runs.values()] == [2, 2]


def test_long_run_names_are_shortened() -> None:
    runs = expand_sweep(GIVEN, {"init": ["text:" + "words " * 60 + end for end in ("a", "b")]})
    folders = [run.output.name for run in runs.values()]
    assert len(set(folders)) == 2
    assert max(map(len, folders)) < 120


def test_missing_task_file_raises_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file not found"):
        load_runs_from_toml({}, tmp_path / "tasks.toml", {"output": tmp_path})
