"""What is no Unicode text is found and can be shown."""

from __future__ import annotations

import os

import pytest

from softprompt.unicode_text import fault_of, readable


@pytest.mark.parametrize("text", ["", "café", "很好", "😍", "\ud7ff\ue000"])
def test_unicode_has_no_fault(text: str) -> None:
    assert fault_of(text) is None
    assert readable(text) == text


def test_a_byte_of_another_encoding_is_named_with_its_place() -> None:
    typed = os.fsdecode(b"caf\xe9 {text}")
    assert fault_of(typed) == "has the byte 0xe9 at character 4, which is not UTF-8"
    assert readable(typed) == "caf\\xe9 {text}"


def test_half_a_character_is_named() -> None:
    assert fault_of("so \ud83d") == "has half a character (\\ud83d) at character 4"
