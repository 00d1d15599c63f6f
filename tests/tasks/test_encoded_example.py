"""Encoded examples: the properties of each kind of supervision."""

from __future__ import annotations

import pytest

from softprompt.tasks import EncodedExample, LabelTarget, ResponseTarget, SpanTarget, TagTargets
from softprompt.tasks.encoded_example import AlignedExample, Supervision, get_alignment, get_supervision
from softprompt.tasks.templates.token_alignment import TokenAlignment

TARGETS = (LabelTarget(2), ResponseTarget.from_tokens([7, 8, 9]), TagTargets((1, 0)), SpanTarget(("a",), (0, 1)))


def test_unsupervised_example_has_no_answer() -> None:
    example = EncodedExample([1, 2], suffix_ids=[3])
    assert (len(example), list(example.response_ids), example.label_index, example.is_target_truncated) == (
        3, [], -1, False,
    )  # fmt: skip


def test_length_of_an_example_includes_its_response() -> None:
    example = EncodedExample([1, 2], ResponseTarget((7, 8, 9), (0, 2)))
    assert (len(example), example.response_ids, example.label_index) == (5, (7, 8, 9), -1)
    assert list(ResponseTarget.from_tokens([7, 8]).loss_positions) == [0, 1]


@pytest.mark.parametrize(("span", "is_truncated"), [((0, 1), False), (None, True)])
def test_target_without_a_token_span_is_flagged_as_truncated(span: tuple[int, int] | None, is_truncated: bool) -> None:
    assert EncodedExample([1], SpanTarget(("a",), span)).is_target_truncated is is_truncated


def test_output_positions_begin_at_the_first_aligned_token() -> None:
    alignment = TokenAlignment("ab", (-1, 1, 2), ((0, 1), (1, 2), (1, 2)))
    assert EncodedExample([5, 6, 7, 8]).first_output_position == 3
    assert AlignedExample([5, 6, 7, 8], alignment=alignment).first_output_position == 1


@pytest.mark.parametrize("target", TARGETS)
def test_supervision_of_an_unexpected_kind_raises_a_type_error(target: Supervision) -> None:
    example = EncodedExample([1], target)
    assert get_supervision(example, type(target)) == target
    for other in {*map(type, TARGETS)} - {type(target)}:
        with pytest.raises(TypeError, match=f"expected {other.__name__} as supervision"):
            get_supervision(example, other)
    with pytest.raises(TypeError, match="found NoneType"):
        get_supervision(EncodedExample([1]), type(target))


def test_get_alignment_of_an_unaligned_example_raises_a_type_error() -> None:
    with pytest.raises(TypeError, match="AlignedExample"):
        get_alignment(EncodedExample([1]))


def test_hash_of_supervision_depends_only_on_the_predicted_values() -> None:
    assert hash(ResponseTarget((7, 8), (0, 1))) == hash(ResponseTarget.from_tokens([7, 8]))
    assert hash(SpanTarget(("a",), (0, 1))) == hash(SpanTarget(("a", "b"), (0, 1)))
    assert hash(TagTargets((0, 1))) != hash(TagTargets((1, 0)))
