"""Responses restricted by a JSON schema or a regular expression."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from softprompt.engine import Engine, EngineRequest, FinishReason, SamplingParams, TokenOutput
from softprompt.errors import SettingError
from softprompt.model import FrozenModel
from softprompt.sampling.grammar import CompiledGrammar, GuidanceCompiler
from tests.tiny import ending_at, shared_model

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["mood", "stars"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model() -> FrozenModel:
    return shared_model("llama")


@pytest.fixture(scope="module")
def compiler(model: FrozenModel) -> GuidanceCompiler:
    return GuidanceCompiler(model.tokenizer, model.shape.vocab_size, model.eos_token_ids)  # type: ignore[arg-type]


def generate(model: FrozenModel, *samplings: SamplingParams) -> list[list[TokenOutput]]:
    engine = Engine(model, max_num_seqs=4, max_model_len=128)
    outputs: list[list[TokenOutput]] = [[] for _ in samplings]
    for sampling, each in zip(samplings, outputs, strict=True):
        engine.add_request(EngineRequest((5, 9, 77), sampling), None, each.append)
    while not engine.is_idle:
        engine.step()
    return outputs


def text(outputs: list[TokenOutput]) -> str:
    return "".join(output.text for output in outputs)


def sampling_with(grammar: CompiledGrammar | None, seed: int, count: int = 100) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=1.0, seed=seed, grammar=grammar)


def test_every_end_token_is_allowed_where_the_grammar_is_complete() -> None:
    model = ending_at("llama", 7, 11)
    state = (
        GuidanceCompiler(model.tokenizer, model.shape.vocab_size, model.eos_token_ids).compile_regex("a").create_state()
    )  # type: ignore[arg-type]
    [a] = model.prompt_tokenizer.tokenize("a")
    allowed = state.get_mask()
    assert allowed is not None
    assert not allowed[[1, 7, 11]].any()
    state.accept_token(a)
    allowed = state.get_mask()
    assert allowed is not None
    assert allowed.nonzero()[0].tolist() == [1, 7, 11]


def test_a_model_without_end_token_supports_no_grammar(model: FrozenModel) -> None:
    with pytest.raises(SettingError, match="no end-of-text token"):
        GuidanceCompiler(model.tokenizer, model.shape.vocab_size, ()).compile_regex("a")  # type: ignore[arg-type]


def test_every_response_matches_its_json_schema(model: FrozenModel, compiler: GuidanceCompiler) -> None:
    """The model generates at random, in a batch with sequences without a grammar."""
    grammar = compiler.compile_json_schema(SCHEMA)
    greedy = SamplingParams(max_new_tokens=100, grammar=grammar)
    *constrained, unconstrained = generate(
        model, *(sampling_with(grammar, seed) for seed in range(5)), greedy, sampling_with(None, 1, count=20)
    )
    for outputs in constrained:
        assert outputs[-1].finish_reason is FinishReason.STOP
        response = json.loads(text(outputs))
        assert response.keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]
        assert response["mood"] in ("good", "bad")
        assert response["stars"] in range(1, 6)
    (alone,) = generate(model, sampling_with(None, 1, count=20))
    assert text(unconstrained) == text(alone)


def test_every_response_matches_its_regular_expression(model: FrozenModel, compiler: GuidanceCompiler) -> None:
    pattern = "(yes|no), [0-9]{2}!"
    for outputs in generate(model, *(sampling_with(compiler.compile_regex(pattern), seed) for seed in range(4))):
        assert re.fullmatch(pattern, text(outputs))


@pytest.mark.parametrize("schema", [{"type": "banana"}, {"$ref": "#/nowhere"}, {"not": {"type": "string"}}])
def test_an_invalid_schema_is_rejected(compiler: GuidanceCompiler, schema: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="the JSON schema cannot be used"):
        compiler.compile_json_schema(schema)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?=a)b"])
def test_an_invalid_regular_expression_is_rejected(compiler: GuidanceCompiler, pattern: str) -> None:
    with pytest.raises(SettingError, match="the regular expression cannot be used"):
        compiler.compile_regex(pattern)


def test_grammars_that_repeat_too_often_are_rejected(compiler: GuidanceCompiler) -> None:
    with pytest.raises(SettingError, match="choose at most 100,000"):
        compiler.compile_json_schema({"type": "array", "minItems": 10**9})
    with pytest.raises(SettingError, match="choose at most 100,000"):
        compiler.compile_regex("a{1000000}")


def test_too_long_grammars_are_rejected(compiler: GuidanceCompiler) -> None:
    with pytest.raises(SettingError, match="too long"):
        compiler.compile_regex("a" * 100_001)
    with pytest.raises(SettingError, match="too long"):
        compiler.compile_json_schema({"enum": ["a" * 100_001]})


def test_ignore_eos_cannot_be_combined_with_a_grammar(compiler: GuidanceCompiler) -> None:
    with pytest.raises(SettingError, match="ignore_eos"):
        SamplingParams(grammar=compiler.compile_regex("a"), ignore_eos=True)


def test_a_too_complex_grammar_ends_only_its_sequence(model: FrozenModel, compiler: GuidanceCompiler) -> None:
    grammar = compiler.compile_regex("(a?){1000}a{1000}")
    exhausted, unconstrained = generate(model, sampling_with(grammar, 1), sampling_with(None, 1, count=5))
    assert exhausted[-1].finish_reason is FinishReason.GRAMMAR_DEAD_END
    assert len(unconstrained) == 5
