"""Many runs from a few words."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.errors import DataError, SettingError
from softprompt.training.sweep import runs_of_sweep, runs_of_tasks, swept

GIVEN = {"data": "train.jsonl", "output": "prompts", "steps": 5}


def test_every_combination_has_a_folder_of_its_name() -> None:
    runs = runs_of_sweep(GIVEN, swept("lr=0.01,0.003,seed=0,1,2"))
    assert list(runs) == [f"lr={rate},seed={seed}" for rate in ("0.01", "0.003") for seed in (0, 1, 2)]
    last = runs["lr=0.003,seed=2"]
    assert (last.learning_rate, last.seed, last.steps) == (0.003, 2, 5)
    assert last.output == Path("prompts/lr=0.003,seed=2")


def test_a_value_may_hold_what_a_folder_cannot() -> None:
    runs = runs_of_sweep(GIVEN, swept("init=text:one/two,vocab,virtual-tokens=3"))
    assert [str(run.output) for run in runs.values()] == [
        "prompts/init=text-one-two,virtual-tokens=3",
        "prompts/init=vocab,virtual-tokens=3",
    ]
    assert [run.init for run in runs.values()] == ["text:one/two", "vocab"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pace=1,2", "`sweep` cannot vary 'pace': one of data, .*or lr"),
        ("output=a,b", "`sweep` cannot vary 'output': one of"),
        ("0,1", "write it like lr="),
        ("seed=", "write it like"),
        ("seed=0,,1", "write it like"),
        ("seed=0,seed=1", "names seed twice"),
        ("labels=a", "`sweep` cannot vary 'labels': one of"),
    ],
)
def test_what_is_no_sweep(text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        swept(text)


def test_a_value_with_a_comma_stands_in_quotes() -> None:
    assert swept('init="text:one, two",labels,seed=0,1') == {"init": ["text:one, two", "labels"], "seed": ["0", "1"]}
    assert swept('template="{text}, so",{text}') == {"template": ["{text}, so", "{text}"]}
    with pytest.raises(SettingError, match="not closed"):
        swept('seed=0,"1')


def test_a_value_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="`seed='-1'`"):
        runs_of_sweep(GIVEN, swept("seed=0,-1"))
    with pytest.raises(SettingError, match="two runs would be named seed=1"):
        runs_of_sweep(GIVEN, swept("seed=1,1"))
    with pytest.raises(SettingError, match="`output` is missing"):
        runs_of_sweep({"data": "train.jsonl"}, swept("seed=0,1"))


TASKS = """
steps = 7
virtual-tokens = 5

[tasks.films]
data = "films.jsonl"

[tasks.songs]
data = "songs.jsonl"
steps = 3
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "tasks.toml"
    file.write_text(text, "utf-8")
    return file


def test_a_task_each(tmp_path: Path) -> None:
    runs = runs_of_tasks({"batch_size": 4, "steps": 99}, written(tmp_path, TASKS), {"output": tmp_path, "seed": 3})
    films, songs = runs["films"], runs["songs"]
    assert (films.data, films.steps, films.virtual_tokens, films.batch_size, films.seed) == ("films.jsonl", 7, 5, 4, 3)
    assert (songs.steps, songs.output) == (3, tmp_path / "songs")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (TASKS + "[tasks.films]\ndata = 'more.jsonl'\n", DataError, "two tasks are named 'films'"),
        ("steps = ", DataError, "it is not TOML"),
        ("steps = 3", SettingError, "names no tasks: write a table"),
        ("tasks = 3", SettingError, "names no tasks"),
        ("[tasks.films]\ndata = 'a'\npace = 3", SettingError, "unknown setting 'pace'"),
        ("[tasks.films]\ndata = 'a'\nmodel = 'gpt2'", SettingError, "model of .tasks.films. is the same for all"),
        ("[tasks.'']\ndata = 'a'", SettingError, "a run cannot be named ''"),
        ("[tasks.'..']\ndata = 'a'", SettingError, "a run cannot be named"),
        ("[tasks.'a.run']\ndata = 'a'", SettingError, "a run cannot be named"),
        ("[tasks.'a b']\ndata = 'a'\n[tasks.'a-b']\ndata = 'a'", SettingError, "two runs would be named a-b"),
    ],
)
def test_what_is_no_file_of_tasks(text: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        runs_of_tasks({}, written(tmp_path, text), {"output": tmp_path})


def test_what_is_typed_has_the_last_word(tmp_path: Path) -> None:
    runs = runs_of_tasks({}, written(tmp_path, TASKS), {"output": tmp_path, "steps": 2})
    assert [run.steps for run in runs.values()] == [2, 2]


def test_a_long_name_is_shortened() -> None:
    runs = runs_of_sweep(GIVEN, {"init": ["text:" + "words " * 60 + end for end in ("a", "b")]})
    folders = [run.output.name for run in runs.values()]
    assert len(set(folders)) == 2
    assert max(map(len, folders)) < 120


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        runs_of_tasks({}, tmp_path / "tasks.toml", {"output": tmp_path})
