"""The text around an example's fields, and what is cut where it does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import Example
from softprompt.errors import RowError, TaskError
from softprompt.model import FrozenModel
from softprompt.tasks.template import Template, joined
from tests.tiny import shared_model

MODEL = shared_model("llama")

texts = st.text(st.characters(codec="utf-8", exclude_characters="[]"), max_size=30)


def decoded(model: FrozenModel, ids: list[int]) -> str:
    return str(model.tokenizer.decode(ids[1:] if model.bos is not None else ids))


def encoded(text: str, fields: dict[str, str], room: int) -> tuple[str, bool]:
    """The text that the model sees, and whether something was cut."""
    ids, cut = Template(text).encode(MODEL, Example(fields, "a.jsonl:3"), room)
    assert len(ids) <= room
    return decoded(MODEL, ids), cut


@pytest.mark.parametrize("text", ["{text", "text}", "{te{xt}", "{text}}", "{"])
def test_braces_that_do_not_match(text: str) -> None:
    with pytest.raises(TaskError, match=r"template .*\{\{ for a brace"):
        Template(text)


@pytest.mark.parametrize(
    "text", ["{}", "{0}", "{text.upper}", "{text[0]}", "{text!r}", "{text:>9}", "{the text}", "{text} and {}", "{1st}"]
)
def test_a_field_that_is_no_plain_name(text: str) -> None:
    with pytest.raises(TaskError, match=r"is no plain field name such as \{text\}"):
        Template(text)


@pytest.mark.parametrize("text", ["", "Review:", "{{text}}"])
def test_a_template_without_a_field(text: str) -> None:
    with pytest.raises(TaskError, match=r"names no field: write one, such as \{text\}"):
        Template(text)


def test_fields_in_order_and_each_once() -> None:
    assert Template("{b}{a} and {b}").fields == ("b", "a")


def test_a_field_may_be_named_in_any_script() -> None:
    assert Template("评论：{正文}").fields == ("正文",)


def test_render_fills_every_mention() -> None:
    assert Template("{a}, {b}; {a}.").render({"a": "x", "b": "{y}"}) == "x, {y}; x."


def test_doubled_braces_are_text() -> None:
    assert Template('{{"text": "{text}"}}').render({"text": "fine"}) == '{"text": "fine"}'


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
def test_the_tail_is_all_that_stands_before_the_answer(text: str, tail: str) -> None:
    assert Template(text).tail == tail


def test_an_example_that_fits_is_left_whole() -> None:
    ids, cut = Template("It: {text}.").encode(MODEL, Example({"text": "a film", "more": "no"}), room=100)
    assert decoded(MODEL, ids) == "It: a film."
    assert ids[0] == MODEL.bos
    assert not cut


def test_a_missing_field_is_the_rows_fault() -> None:
    with pytest.raises(RowError, match="a.jsonl:3: no field 'text'; its fields are review"):
        encoded("{text}", {"review": "fine"}, room=100)


@given(text=texts, room=st.integers(10, 60))
def test_only_the_text_is_cut_and_at_its_own_characters(text: str, room: int) -> None:
    found, cut = encoded("[{text}] is", {"text": text}, room)
    assert found.startswith("[")
    assert found.endswith("] is")
    kept = found[1:-4]
    assert text.startswith(kept)
    assert cut == (kept != text)


@pytest.mark.parametrize("text", ["scene " * 60, "Wörter und Wörter " * 12, "0123456789" * 9])
def test_no_more_is_cut_than_must_be(text: str) -> None:
    for room in range(20, 60):
        ids, cut = Template("[{text}] is").encode(MODEL, Example({"text": text}), room)
        assert cut
        assert room - 2 <= len(ids) <= room


def test_the_longest_field_is_cut_first() -> None:
    fields = {"title": "the plot", "body": "scene " * 60}
    found, cut = encoded("[{title}] [{body}]", fields, room=30)
    assert cut
    assert found.startswith("[the plot] [scene scene")
    assert found.endswith("]")


def test_a_field_is_gone_before_the_template_is_touched() -> None:
    fields = {"a": "x" * 40, "b": "y" * 39}
    room = len(MODEL.row(MODEL.tokenize("<> <>")))
    assert encoded("<{a}> <{b}>", fields, room) == ("<> <>", True)


def test_a_field_that_is_mentioned_twice_is_cut_twice_alike() -> None:
    found, cut = encoded("{a}|{a}", {"a": "0123456789" * 5}, room=30)
    left, right = found.split("|")
    assert cut
    assert left == right
    assert left + ("0123456789" * 5)[len(left) :] == "0123456789" * 5


def test_no_character_is_cut_in_half() -> None:
    text = "这件衣服很好看😀" * 9
    for room in range(12, 90, 7):
        found, _ = encoded("{text}\n标签：", {"text": text}, room)
        assert "\ufffd" not in found


def test_a_template_that_does_not_fit_by_itself_is_named() -> None:
    with pytest.raises(RowError, match=r"a\.jsonl:3: the template alone needs \d+ tokens where 5 fit"):
        encoded("a rather long template: {text}", {"text": "scene"}, room=5)
    with pytest.raises(RowError, match="where 0 fit"):
        encoded("{text}", {"text": "scene"}, room=-7)


@given(before=texts, text=texts)
def test_a_continuation_is_what_the_whole_adds(before: str, text: str) -> None:
    ids = MODEL.continuation(before, text)
    assert MODEL.tokenizer.decode(ids) == text
    head = MODEL.tokenize(before)
    whole = MODEL.tokenize(before + text)
    assert ids == (whole[len(head) :] if whole[: len(head)] == head else MODEL.tokenize(text))


@pytest.mark.parametrize(
    ("template", "answer", "expected"),
    [
        ("{text}\nLabel:", "good", " good"),
        ("{text}\nLabel: ", "good", "good"),
        ("{text}\n", "good", "good"),
        ("{text}", "good", " good"),
        ("{text}\n标签：", "好评", "好评"),
        ("{text}\nラベル：", "よい", "よい"),
        ("{text}\n标签：", "good", " good"),
    ],
)
def test_an_answer_follows_behind_a_space_where_the_script_has_spaces(
    template: str, answer: str, expected: str
) -> None:
    assert joined(Template(template), answer) == expected


def test_markers_become_placeholders_and_no_lone_spaces() -> None:
    found, _ = Template("[P1] [P2] {text} [P3] so").encode(MODEL, Example({"text": "the film"}), 50)
    assert found == MODEL.row([-1, -2, *MODEL.tokenize(" the film"), -3, *MODEL.tokenize(" so")])


def test_special_tokens_are_control_in_a_template_and_words_in_a_text() -> None:
    found, _ = Template("{text}</s>so").encode(MODEL, Example({"text": "the</s> film"}), 50)
    assert found.count(MODEL.eos) == 1
    assert MODEL.tokenizer.decode([i for i in found[: found.index(MODEL.eos)] if i != MODEL.bos]) == "the</s> film"


def test_the_tail_stands_before_the_blank() -> None:
    assert Template("{text} it was [MASK] .").tail == " it was "
    assert Template("{text}[MASK]").tail == ""
