"""Grammars that take too long to compile are rejected, and the next grammar is compiled as usual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.sampling.grammar import GuidanceCompiler
from softprompt.sampling.grammar_checker import GrammarChecker
from tests.tiny import shared_model

ENDLESS: list[dict[str, Any]] = [
    {"type": "integer", "multipleOf": 999983},
    {"allOf": [{"type": "string", "pattern": f"^.*x{i}.*$"} for i in range(400)]},
]


@pytest.fixture(scope="module")
def compiler() -> Iterator[GuidanceCompiler]:
    model = shared_model("llama")
    compiler_with_checker = GuidanceCompiler(
        model.tokenizer, model.shape.vocab_size, model.eos_token_ids, GrammarChecker(cpu_seconds=0.2)
    )  # type: ignore[arg-type]
    yield compiler_with_checker
    compiler_with_checker.close()


@pytest.mark.parametrize("schema", ENDLESS)
def test_a_grammar_that_takes_too_long_is_rejected(compiler: GuidanceCompiler, schema: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"^the JSON schema cannot be used: it takes more than 0\.2 s to compile"):
        compiler.compile_json_schema(schema)
    compiler.compile_json_schema({"type": "object"})


def test_grammar_errors_are_reported_by_the_checker(compiler: GuidanceCompiler) -> None:
    with pytest.raises(SettingError, match="the regular expression cannot be used: .* unclosed group"):
        compiler.compile_regex("(")


def test_closing_the_checker_ends_its_process(compiler: GuidanceCompiler) -> None:
    checker = GrammarChecker()
    assert checker.find_problem("start: /a/", 100) == ""
    process = checker._process
    assert process is not None
    checker.close()
    assert process.returncode is not None
    assert checker.find_problem("start: /a/", 100) == ""  # the process starts again
    checker.close()
