"""Bodies of the requests that a gateway sends to a replica."""

from __future__ import annotations

import pytest

from softprompt.engine import EngineRequest, SamplingParams
from softprompt.sampling.grammar import CompiledGrammar
from softprompt.server.backends.vllm.replica_request_body import (
    build_completion_body,
    build_guard_probe_body,
    build_next_token_body,
    make_cache_salt,
)
from softprompt.vllm_protocol import UNKNOWN_PROMPT_DIGEST

CONTENT = "ab" * 32
REQUEST = EngineRequest(
    (5, 6), SamplingParams(8, temperature=0.5, seed=-1, stop=("x",)), "acme", None, f"sha256:{CONTENT}"
)


def test_the_body_begins_with_placeholders_and_names_the_prompt() -> None:
    body = build_completion_body(REQUEST, 3, eos_token_ids=[1, 7])
    assert body["prompt"] == [[0, 0, 0, 5, 6]]
    assert body["kv_transfer_params"] == {"softprompt": {"prompt_digest": CONTENT, "num_positions": 3}}
    assert body["cache_salt"] == make_cache_salt("acme", CONTENT)
    assert (body["max_tokens"], body["temperature"], body["stream"]) == (8, 0.5, True)


def test_base_model_requests_name_no_prompt() -> None:
    body = build_completion_body(EngineRequest((5, 6), SamplingParams(8), "acme", None, ""), 0, eos_token_ids=[1, 7])
    assert body["prompt"] == [[5, 6]]
    assert "kv_transfer_params" not in body


def test_stop_strings_are_not_sent_and_end_tokens_are_sent_as_stop_tokens() -> None:
    body = build_completion_body(REQUEST, 3, eos_token_ids=[1, 7])
    assert "stop" not in body
    assert (body["ignore_eos"], body["stop_token_ids"]) == (True, [1, 7])
    assert (
        build_completion_body(EngineRequest((5,), SamplingParams(8, ignore_eos=True)), 0, eos_token_ids=[1, 7])[
            "stop_token_ids"
        ]
        == []
    )


def test_a_negative_seed_is_mapped_to_a_seed_that_vllm_accepts() -> None:
    assert build_completion_body(REQUEST, 3, eos_token_ids=[1, 7])["seed"] == 2**63 - 1


@pytest.mark.parametrize(
    "sampling", [SamplingParams(top_p=0.0, temperature=1.0), SamplingParams(temperature=1e-310, top_p=0.5)]
)
def test_greedy_decoding_is_sent_as_temperature_zero(sampling: SamplingParams) -> None:
    body = build_completion_body(EngineRequest((5,), sampling), 0, eos_token_ids=[1])
    assert (body["temperature"], body["top_p"]) == (0.0, 1.0)


def test_unset_parameters_are_absent_from_the_body() -> None:
    assert not {"logit_bias", "logprobs", "structured_outputs", "n", "echo"} & set(
        build_completion_body(REQUEST, 3, eos_token_ids=[1, 7])
    )
    grammar = CompiledGrammar(None, {"regex": "a+"}, 384)  # type: ignore[arg-type]
    asked = EngineRequest((5,), SamplingParams(8, logit_bias={7: 1.5}, logprobs=2, grammar=grammar))
    body = build_completion_body(asked, 0, eos_token_ids=[1, 7])
    assert (body["logit_bias"], body["logprobs"]) == ({"7": 1.5}, 2)
    assert body["structured_outputs"] == {"regex": "a+"}


def test_each_tenant_and_prompt_has_its_own_cache_salt() -> None:
    pairs = [("acme", CONTENT), ("acme", ""), ("other", CONTENT), ("", f"acme{CONTENT}"), (f"acme{CONTENT}", "")]
    assert len({make_cache_salt(*pair) for pair in pairs}) == len(pairs)


def test_a_next_token_body_has_all_sequences_and_a_limit_of_one_token() -> None:
    body = build_next_token_body([[5], [6, 7]], 2, "acme", CONTENT)
    assert body["prompt"] == [[0, 0, 5], [0, 0, 6, 7]]
    assert (body["max_tokens"], body["logprobs"]) == (1, 20)
    assert build_next_token_body([[5]], 2, "acme", CONTENT, only_token_id=9)["allowed_token_ids"] == [9]


def test_the_probe_names_a_prompt_that_does_not_exist() -> None:
    assert build_guard_probe_body()["kv_transfer_params"]["softprompt"]["prompt_digest"] == UNKNOWN_PROMPT_DIGEST
