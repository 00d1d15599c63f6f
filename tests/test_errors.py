"""The tree drawn in errors.py, and what becomes of the operating system's refusals."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path

import pytest

from softprompt import errors
from softprompt.errors import DataError, DiskFull, RowError, SettingError, SoftPromptError, disk_errors

DRAWN = re.compile(r" {4}(?P<branches>(?:[│├└ ][─ ]{2} )*)(?P<name>[A-Z]\w+) +(?P<meaning>\S.*)")


def drawn() -> dict[str, str]:
    """Each class in the docstring's drawing, with the one it hangs from."""
    above: list[str] = []
    tree = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := DRAWN.fullmatch(line):
            del above[len(found["branches"]) // 4 :]
            tree[found["name"]] = above[-1] if above else "Exception"
            above.append(found["name"])
    return tree


def existing() -> dict[str, str]:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    return {c.__name__: c.__base__.__name__ for c in classes if c.__base__ is not None}


def test_the_drawing_is_the_tree() -> None:
    assert drawn() == existing()


def test_the_drawing_has_branches_on_branches() -> None:
    assert drawn()["RowError"] == "DataError"
    assert drawn()["SavedPromptError"] == "SoftPromptError"


def test_every_error_is_raised_somewhere() -> None:
    source = "".join(path.read_text() for path in Path(errors.__file__).parent.rglob("*.py"))
    bases = set(existing().values())
    unused = [n for n in existing() if n not in bases and not re.search(rf"\b(raise|return) {n}\(", source)]
    assert unused == []


def test_a_row_error_begins_with_the_place() -> None:
    error = RowError("train.jsonl:12", "no label")
    assert str(error) == "train.jsonl:12: no label"
    assert error.where == "train.jsonl:12"
    assert isinstance(error, DataError)


@pytest.mark.parametrize("name", existing())
def test_an_error_survives_the_way_from_another_process(name: str) -> None:
    kind = getattr(errors, name)
    error = RowError("train.jsonl:12", "no label") if kind is RowError else kind("say why")
    error.args = (f"a: {error}",)  # as a run's name is put in front
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is kind
    assert str(found) == str(error)
    assert vars(found) == vars(error)


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
def test_a_refusal_to_write_names_the_place(number: int, expected: type[SoftPromptError]) -> None:
    with pytest.raises(expected, match="prompts/reviews") as caught, disk_errors(Path("prompts/reviews")):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "I/O error"), FileNotFoundError(errno.ENOENT, "gone"), ValueError("no file")]
)
def test_anything_else_passes_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, disk_errors(Path("p")):
        raise error
    assert caught.value is error


def test_nothing_happens_without_an_error() -> None:
    with disk_errors(Path("p")):
        written = True
    assert written
