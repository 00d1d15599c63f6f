"""Grammars that would take for ever to prepare are refused, and the next one is prepared as ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from softprompt.engine.grammar import Grammars
from softprompt.engine.grammar_checker import GrammarChecker
from softprompt.errors import SettingError
from tests.tiny import shared_model

ENDLESS: list[dict[str, Any]] = [
    {"type": "integer", "multipleOf": 999983},
    {"allOf": [{"type": "string", "pattern": f"^.*x{i}.*$"} for i in range(400)]},
]


@pytest.fixture(scope="module")
def grammars() -> Iterator[Grammars]:
    model = shared_model("llama")
    made = Grammars(model.tokenizer, model.shape.vocab_size, model.eos_token_ids, GrammarChecker(seconds=0.2))  # type: ignore[arg-type]
    yield made
    made.close()


@pytest.mark.parametrize("schema", ENDLESS)
def test_what_takes_for_ever_to_prepare_is_refused(grammars: Grammars, schema: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"^the JSON schema cannot be used: it takes more than 0\.2 s to prepare"):
        grammars.json_schema(schema)
    grammars.json_schema({"type": "object"})


def test_what_is_wrong_with_a_grammar_is_said_as_without_it(grammars: Grammars) -> None:
    with pytest.raises(SettingError, match="the regular expression cannot be used: .* unclosed group"):
        grammars.regex("(")


def test_nothing_is_left_of_it(grammars: Grammars) -> None:
    checker = GrammarChecker()
    assert checker.find_problem("start: /a/", 100) == ""
    process = checker._process
    assert process is not None
    checker.close()
    assert process.returncode is not None
    assert checker.find_problem("start: /a/", 100) == ""  # it begins again
    checker.close()
