"""The tree of errors in the docstring, and the translation of OS errors."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path

import pytest

from softprompt import errors
from softprompt.errors import DataError, DiskFull, RecordError, SettingError, SoftPromptError, translate_os_errors

BRANCH_PATTERN = re.compile(r" {4}(?P<branches>(?:[│├└ ][─ ]{2} )*)(?P<name>[A-Z]\w+) +(?P<meaning>\S.*)")


def parse_documented_tree() -> dict[str, str]:
    """Return each class of the tree in the docstring with its base class."""
    ancestors: list[str] = []
    tree = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := BRANCH_PATTERN.fullmatch(line):
            del ancestors[len(match["branches"]) // 4 :]
            tree[match["name"]] = ancestors[-1] if ancestors else "Exception"
            ancestors.append(match["name"])
    return tree


def list_error_classes() -> dict[str, str]:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    return {c.__name__: c.__base__.__name__ for c in classes if c.__base__ is not None}


def test_documented_tree_equals_the_class_hierarchy() -> None:
    assert parse_documented_tree() == list_error_classes()


def test_documented_tree_is_nested() -> None:
    assert parse_documented_tree()["RecordError"] == "DataError"
    assert parse_documented_tree()["SavedPromptError"] == "SoftPromptError"


def test_every_error_class_is_raised() -> None:
    source = "".join(path.read_text() for path in Path(errors.__file__).parent.rglob("*.py"))
    bases = set(list_error_classes().values())
    unused = [n for n in list_error_classes() if n not in bases and not re.search(rf"\b(raise|return) {n}\(", source)]
    assert unused == []


def test_a_record_error_begins_with_its_location() -> None:
    error = RecordError("train.jsonl:12", "no label")
    assert str(error) == "train.jsonl:12: no label"
    assert error.location == "train.jsonl:12"
    assert isinstance(error, DataError)


@pytest.mark.parametrize("name", list_error_classes())
def test_pickling_preserves_an_error(name: str) -> None:
    error_class = getattr(errors, name)
    error = RecordError("train.jsonl:12", "no label") if error_class is RecordError else error_class("say why")
    error.args = (f"a: {error}",)  # like a run's name in front
    match = pickle.loads(pickle.dumps(error))
    assert type(match) is error_class
    assert str(match) == str(error)
    assert vars(match) == vars(error)


def test_an_error_with_another_message_keeps_class_and_attributes() -> None:
    error = RecordError("train.jsonl:12", "no label").with_message("first: train.jsonl:12: no label")
    assert type(error) is RecordError
    assert error.location == "train.jsonl:12"
    assert str(error) == "first: train.jsonl:12: no label"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, SettingError),
        (errno.EPERM, SettingError),
        (errno.EROFS, SettingError),
    ],
)
def test_write_errors_name_the_path(number: int, expected: type[SoftPromptError]) -> None:
    with pytest.raises(expected, match="prompts/reviews") as caught, translate_os_errors(Path("prompts/reviews")):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "I/O error"), FileNotFoundError(errno.ENOENT, "gone"), ValueError("no file")]
)
def test_other_errors_are_raised_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translate_os_errors(Path("p")):
        raise error
    assert caught.value is error


def test_translating_os_errors_without_an_error_raises_nothing() -> None:
    with translate_os_errors(Path("p")):
        written = True
    assert written
