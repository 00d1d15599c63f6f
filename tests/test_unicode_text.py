"""Invalid Unicode is found and escaped."""

from __future__ import annotations

import json
import os

import pytest

from softprompt.unicode_text import escape_controls, escape_json, escape_surrogates, find_unicode_error


@pytest.mark.parametrize("text", ["", "café", "很好", "😍", "\ud7ff\ue000"])
def test_valid_unicode_is_accepted_and_not_escaped(text: str) -> None:
    assert find_unicode_error(text) is None
    assert escape_surrogates(text) == text


def test_an_undecodable_byte_is_reported_with_its_position() -> None:
    typed = os.fsdecode(b"caf\xe9 {text}")
    assert find_unicode_error(typed) == "has the byte 0xe9 at character 4, which is not UTF-8"
    assert escape_surrogates(typed) == "caf\\xe9 {text}"


def test_a_lone_surrogate_is_reported() -> None:
    assert find_unicode_error("so \ud83d") == "has the lone surrogate \\ud83d at character 4"


SEEN = "naïve 很好 😍 \N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER} שלום a\nb\tc \\x1b"
UNSEEN = [chr(i) for i in range(0x20) if chr(i) not in "\n\t"]
UNSEEN += [chr(i) for i in (*range(0x7F, 0xA0), 0x61C, *range(0x200E, 0x2010), *range(0x2028, 0x202F), 0x200B, 0xFEFF)]
UNSEEN += [chr(i) for i in range(0x2066, 0x206A)]


def test_control_characters_are_escaped() -> None:
    assert escape_controls("\x1b[2J\x9b\x07\r\u202e\u2066") == r"\x1b[2J\x9b\x07\r\u202e\u2066"
    assert escape_controls(SEEN) == SEEN
    for character in UNSEEN:
        shown = escape_controls(f"a{character}b")
        assert character not in shown
        assert shown.isprintable()
        assert escape_controls(shown) == shown
    assert escape_controls("a\nb\t", keep="") == r"a\nb\t"


def test_escaping_json_does_not_change_the_parsed_values() -> None:
    for value in (*UNSEEN, SEEN):
        text = escape_json(json.dumps({value: value}, ensure_ascii=False))
        assert json.loads(text) == {value: value}
        assert not set(text) & set(UNSEEN)
