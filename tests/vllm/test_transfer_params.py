"""What a request names as its prompt is taken exactly as it must be, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from softprompt.errors import SettingError
from softprompt.vllm.transfer_params import PromptTransferParams, parse_kv_transfer_params

CONTENT = "0123456789abcdef" * 4


def test_a_prompt_is_sent_as_it_is_read() -> None:
    asked = PromptTransferParams(CONTENT, 17)
    assert asked.to_kv_transfer_params() == {"softprompt": {"prompt_digest": CONTENT, "num_positions": 17}}
    assert parse_kv_transfer_params(asked.to_kv_transfer_params()) == asked


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_request_may_name_none(nothing: object) -> None:
    assert parse_kv_transfer_params(nothing) is None


def named(**fields: Any) -> dict[str, Any]:
    return {"softprompt": {"prompt_digest": CONTENT, "num_positions": 4, **fields}}


WRONG: dict[str, tuple[object, str]] = {
    "not an object": ("softprompt", "an object"),
    "a list": ([named()], "an object"),
    "another connector's": ({"do_remote_prefill": True}, "nothing else"),
    "ours and another's": ({**named(), "do_remote_prefill": True}, "nothing else"),
    "misspelt": ({"softpromt": {}}, "`softprompt`"),
    "not fields": ({"softprompt": CONTENT}, "`prompt_digest` and `num_positions`"),
    "no positions": ({"softprompt": {"prompt_digest": CONTENT}}, "`num_positions`"),
    "one field more": (named(path="/etc"), "nothing else"),
    "a path": (named(prompt_digest="../../etc/passwd"), "64 hexadecimal"),
    "a hash with a line feed": (named(prompt_digest=CONTENT + "\n"), "64 hexadecimal"),
    "a hash in capitals": (named(prompt_digest=CONTENT.upper()), "64 hexadecimal"),
    "a number for a hash": (named(prompt_digest=7), "64 hexadecimal"),
    "no positions at all": (named(num_positions=0), "above 0"),
    "true": (named(num_positions=True), "above 0"),
    "half a position": (named(num_positions=1.5), "above 0"),
    "a text": (named(num_positions="4"), "above 0"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_refused(wrong: str) -> None:
    parameters, says = WRONG[wrong]
    with pytest.raises(SettingError, match=says):
        parse_kv_transfer_params(parameters)
