"""An answer's text as it follows the template."""

from __future__ import annotations

import pytest

from softprompt.tasks.templates.answer_text import join_answer
from softprompt.tasks.templates.template import Template


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
def test_answer_is_joined_with_a_space_where_the_script_has_spaces(template: str, answer: str, expected: str) -> None:
    assert join_answer(Template(template), answer) == expected
