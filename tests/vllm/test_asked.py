"""What a request names as its prompt is taken exactly as it must be, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.vllm.asked import Asked, asked_in

CONTENT = "0123456789abcdef" * 4


def test_a_prompt_is_sent_as_it_is_read() -> None:
    asked = Asked(CONTENT, 17)
    assert asked.parameters() == {"softprompt": {"prompt": CONTENT, "positions": 17}}
    assert asked_in(asked.parameters()) == asked


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_request_may_name_none(nothing: object) -> None:
    assert asked_in(nothing) is None


def named(**fields: Any) -> dict[str, Any]:
    return {"softprompt": {"prompt": CONTENT, "positions": 4, **fields}}


WRONG: dict[str, tuple[object, str]] = {
    "not an object": ("softprompt", "an object"),
    "a list": ([named()], "an object"),
    "another connector's": ({"do_remote_prefill": True}, "nothing else"),
    "ours and another's": ({**named(), "do_remote_prefill": True}, "nothing else"),
    "misspelt": ({"softpromt": {}}, "`softprompt`"),
    "not fields": ({"softprompt": CONTENT}, "`prompt` and `positions`"),
    "no positions": ({"softprompt": {"prompt": CONTENT}}, "`positions`"),
    "one field more": (named(path="/etc"), "nothing else"),
    "a path": (named(prompt="../../etc/passwd"), "64 hexadecimal"),
    "a hash with a line feed": (named(prompt=CONTENT + "\n"), "64 hexadecimal"),
    "a hash in capitals": (named(prompt=CONTENT.upper()), "64 hexadecimal"),
    "a number for a hash": (named(prompt=7), "64 hexadecimal"),
    "no positions at all": (named(positions=0), "above 0"),
    "true": (named(positions=True), "above 0"),
    "half a position": (named(positions=1.5), "above 0"),
    "a text": (named(positions="4"), "above 0"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused(wrong: str) -> None:
    parameters, says = WRONG[wrong]
    with pytest.raises(SettingError, match=says):
        asked_in(parameters)
