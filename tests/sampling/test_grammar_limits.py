"""Limits on the repetitions in JSON schemas and regular expressions."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.sampling.grammar_limits import check_regex_repetitions, check_schema_repetitions


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 10**9},
        {"type": "array", "maxItems": 1e9},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "string", "minLength": 10**6}]}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "a{2,1000000}"}}},
        {"$defs": {"x": {"type": "object", "minProperties": 10**30}}},
    ],
)
def test_a_schema_that_repeats_too_often_is_rejected(schema: dict[str, Any]) -> None:
    """Llguidance 1.7, which vLLM 0.32 uses, allocates 94 bytes for each repetition."""
    with pytest.raises(SettingError, match="choose at most 100,000"):
        check_schema_repetitions(schema)


@pytest.mark.parametrize("pattern", ["a{1000000}", "(ab){1,1000000}", "a{3,}b{99999999999999999999}"])
def test_a_regular_expression_that_repeats_too_often_is_rejected(pattern: str) -> None:
    with pytest.raises(SettingError, match="choose at most 100,000"):
        check_regex_repetitions(pattern)


def test_escaped_braces_and_data_are_not_repetitions() -> None:
    check_regex_repetitions(r"a\{1000000\}b{2,30}")
    check_schema_repetitions({"type": "object", "properties": {"a": {"const": {"minItems": 10**9}}}})
