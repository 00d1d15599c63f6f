"""The text around an example's fields, and the truncation of fields that do not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import Example
from softprompt.errors import RecordError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.templates.template import Template
from tests.tiny import shared_model

MODEL = shared_model("llama")

texts = st.text(st.characters(codec="utf-8", exclude_characters="[]"), max_size=30)


def decoded(model: FrozenModel, ids: list[int]) -> str:
    return str(model.tokenizer.decode(ids[1:] if model.prompt_tokenizer.bos_token_id is not None else ids))


def encoded(text: str, fields: dict[str, str], room: int) -> tuple[str, bool]:
    """Return the text that the model sees, and whether text was truncated."""
    ids, cut = Template(text).encode_example(MODEL, Example(fields, "a.jsonl:3"), room)
    assert len(ids) <= room
    return decoded(MODEL, ids), cut


@pytest.mark.parametrize("text", ["{text", "text}", "{te{xt}", "{text}}", "{"])
def test_unmatched_braces_are_rejected(text: str) -> None:
    with pytest.raises(TaskError, match=r"template .*literal braces as \{\{"):
        Template(text)


@pytest.mark.parametrize(
    "text", ["{}", "{0}", "{text.upper}", "{text[0]}", "{text!r}", "{text:>9}", "{the text}", "{text} and {}", "{1st}"]
)
def test_invalid_field_name_is_rejected(text: str) -> None:
    with pytest.raises(TaskError, match=r"is not a plain field name such as \{text\}"):
        Template(text)


@pytest.mark.parametrize("text", ["", "Review:", "{{text}}"])
def test_template_without_field_is_rejected(text: str) -> None:
    with pytest.raises(TaskError, match=r"has no field: add one, such as \{text\}"):
        Template(text)


def test_field_names_are_in_order_without_duplicates() -> None:
    assert Template("{b}{a} and {b}").field_names == ("b", "a")


def test_a_field_may_be_named_in_any_script() -> None:
    assert Template("评论：{正文}").field_names == ("正文",)


def test_every_mention_of_a_field_is_rendered() -> None:
    assert Template("{a}, {b}; {a}.").render_text({"a": "x", "b": "{y}"}) == "x, {y}; x."


def test_doubled_braces_are_literal() -> None:
    assert Template('{{"text": "{text}"}}').render_text({"text": "fine"}) == '{"text": "fine"}'


@pytest.mark.parametrize(
    ("text", "tail"),
    [
        ("{text}\nLabel:", "\nLabel:"),
        ("{text}", ""),
        ("{a} and {b} so", " so"),
        ("{text} {{label}}:", " {label}:"),
        ("{{ {text} }}", " }"),
        ("{{}} {text}", ""),
    ],
)
def test_text_before_answer_is_the_last_literal(text: str, tail: str) -> None:
    assert Template(text).text_before_answer == tail


def test_fitting_example_is_not_truncated() -> None:
    ids, cut = Template("It: {text}.").encode_example(MODEL, Example({"text": "a film", "more": "no"}), max_length=100)
    assert decoded(MODEL, ids) == "It: a film."
    assert ids[0] == MODEL.prompt_tokenizer.bos_token_id
    assert not cut


def test_missing_field_raises_a_record_error() -> None:
    with pytest.raises(RecordError, match="a.jsonl:3: no field 'text'; its fields are review"):
        encoded("{text}", {"review": "fine"}, room=100)


@given(text=texts, room=st.integers(10, 60))
def test_only_fields_are_truncated_at_character_boundaries(text: str, room: int) -> None:
    found, cut = encoded("[{text}] is", {"text": text}, room)
    assert found.startswith("[")
    assert found.endswith("] is")
    kept = found[1:-4]
    assert text.startswith(kept)
    assert cut == (kept != text)


@pytest.mark.parametrize("text", ["scene " * 60, "Wörter und Wörter " * 12, "0123456789" * 9])
def test_truncation_removes_no_more_than_necessary(text: str) -> None:
    for room in range(20, 60):
        ids, cut = Template("[{text}] is").encode_example(MODEL, Example({"text": text}), room)
        assert cut
        assert room - 2 <= len(ids) <= room


def test_longest_field_is_truncated_first() -> None:
    fields = {"title": "the plot", "body": "scene " * 60}
    found, cut = encoded("[{title}] [{body}]", fields, room=30)
    assert cut
    assert found.startswith("[the plot] [scene scene")
    assert found.endswith("]")


def test_template_is_never_truncated() -> None:
    fields = {"a": "x" * 40, "b": "y" * 39}
    room = len(MODEL.prompt_tokenizer.encode_text("<> <>"))
    assert encoded("<{a}> <{b}>", fields, room) == ("<> <>", True)


def test_repeated_field_is_truncated_consistently() -> None:
    found, cut = encoded("{a}|{a}", {"a": "0123456789" * 5}, room=30)
    left, right = found.split("|")
    assert cut
    assert left == right
    assert left + ("0123456789" * 5)[len(left) :] == "0123456789" * 5


def test_truncation_keeps_whole_characters() -> None:
    text = "这件衣服很好看😀" * 9
    for room in range(12, 90, 7):
        found, _ = encoded("{text}\n标签：", {"text": text}, room)
        assert "\ufffd" not in found


def test_too_long_template_is_rejected() -> None:
    with pytest.raises(RecordError, match=r"a\.jsonl:3: the template alone has \d+ tokens, but only 5 fit"):
        encoded("a rather long template: {text}", {"text": "scene"}, room=5)
    with pytest.raises(RecordError, match="only 0 fit"):
        encoded("{text}", {"text": "scene"}, room=-7)


def test_markers_become_placeholders_without_spaces_around_them() -> None:
    found, _ = Template("[P1] [P2] {text} [P3] so").encode_example(MODEL, Example({"text": "the film"}), 50)
    assert found == MODEL.prompt_tokenizer.add_special_tokens(
        [-1, -2, *MODEL.prompt_tokenizer.tokenize(" the film"), -3, *MODEL.prompt_tokenizer.tokenize(" so")]
    )


def test_special_tokens_are_control_tokens_in_a_template_and_text_in_a_field() -> None:
    found, _ = Template("{text}</s>so").encode_example(MODEL, Example({"text": "the</s> film"}), 50)
    assert found.count(MODEL.eos_token_id) == 1
    assert (
        MODEL.tokenizer.decode(
            [i for i in found[: found.index(MODEL.eos_token_id)] if i != MODEL.prompt_tokenizer.bos_token_id]
        )
        == "the</s> film"
    )


def test_text_before_answer_precedes_the_mask() -> None:
    assert Template("{text} it was [MASK] .").text_before_answer == " it was "
    assert Template("{text}[MASK]").text_before_answer == ""
