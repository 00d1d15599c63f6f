"""Validation of names and aliases, and parsing of references."""

from __future__ import annotations

import pytest

from softprompt.errors import SettingError
from softprompt.registry.prompt_reference import PromptReference, validate_alias, validate_name


@pytest.mark.parametrize("name", ["a", "7", "reviews", "reviews-2.1_de", "a" * 100])
def test_valid_names_are_accepted(name: str) -> None:
    assert validate_name("prompt", name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "_a", "Reviews", "a b", "a/b", "..", "a@b", "é", "a\n", "a" * 101, "٣", "a\0"]
)
def test_invalid_names_are_rejected(name: str) -> None:
    with pytest.raises(SettingError, match="invalid tenant name .*: use 1 to 100 of a-z"):
        validate_name("tenant", name)


@pytest.mark.parametrize("name", ["3", "007"])
def test_numeric_aliases_are_rejected(name: str) -> None:
    with pytest.raises(SettingError, match="could be confused with a version number"):
        validate_alias(name)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("reviews", PromptReference("reviews")),
        ("reviews@3", PromptReference("reviews", 3)),
        ("reviews@canary", PromptReference("reviews", "canary")),
        ("3@3a", PromptReference("3", "3a")),
    ],
)
def test_references_are_parsed_and_printed(text: str, meant: PromptReference) -> None:
    assert PromptReference.parse_reference(text) == meant
    assert str(meant) == text


@pytest.mark.parametrize(
    "text", ["", "@", "@3", "reviews@", "reviews@0", "reviews@03", "reviews@-1", "reviews@1@2", "a@" + "9" * 30, "a@٣"]
)
def test_invalid_references_are_rejected(text: str) -> None:
    with pytest.raises(SettingError):
        PromptReference.parse_reference(text)
