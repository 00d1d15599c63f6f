"""Responses that are held to a form."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from softprompt.engine import End, Engine, Request, Sampling, Written
from softprompt.engine.grammar import Grammar, Grammars
from softprompt.errors import SettingError
from softprompt.model import FrozenModel
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
def grammars(model: FrozenModel) -> Grammars:
    return Grammars(model.tokenizer, model.shape.vocab_size, model.eos_token_ids)  # type: ignore[arg-type]


def answered(model: FrozenModel, *samplings: Sampling) -> list[list[Written]]:
    engine = Engine(model, slots=4, length=128)
    heard: list[list[Written]] = [[] for _ in samplings]
    for sampling, each in zip(samplings, heard, strict=True):
        engine.add(Request((5, 9, 77), sampling), None, each.append)
    while not engine.is_idle:
        engine.step()
    return heard


def text(heard: list[Written]) -> str:
    return "".join(written.text for written in heard)


def drawn(grammar: Grammar | None, seed: int, count: int = 100) -> Sampling:
    return Sampling(max_new_tokens=count, temperature=1.0, seed=seed, grammar=grammar)


def test_each_end_token_may_follow_a_form_that_is_complete() -> None:
    model = ending_at("llama", 7, 11)
    guide = Grammars(model.tokenizer, model.shape.vocab_size, model.eos_token_ids).regex("a").start()  # type: ignore[arg-type]
    [a] = model.tokenize("a")
    allowed = guide.allowed(model.shape.vocab_size)
    assert allowed is not None
    assert not allowed[[1, 7, 11]].any()
    guide.take(a)
    allowed = guide.allowed(model.shape.vocab_size)
    assert allowed is not None
    assert allowed.nonzero()[0].tolist() == [1, 7, 11]


def test_a_model_without_an_end_token_is_held_to_no_grammar(model: FrozenModel) -> None:
    with pytest.raises(SettingError, match="no end-of-text token"):
        Grammars(model.tokenizer, model.shape.vocab_size, ()).regex("a")  # type: ignore[arg-type]


def test_every_response_is_json_of_the_schema(model: FrozenModel, grammars: Grammars) -> None:
    """Of a model that writes at random, beside rows that are held to nothing."""
    grammar = grammars.json_schema(SCHEMA)
    greedy = Sampling(max_new_tokens=100, grammar=grammar)
    *held, free = answered(model, *(drawn(grammar, seed) for seed in range(5)), greedy, drawn(None, 1, count=20))
    for heard in held:
        assert heard[-1].end is End.STOP
        said = json.loads(text(heard))
        assert said.keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]
        assert said["mood"] in ("good", "bad")
        assert said["stars"] in range(1, 6)
    (alone,) = answered(model, drawn(None, 1, count=20))
    assert text(free) == text(alone)


def test_a_regular_expression(model: FrozenModel, grammars: Grammars) -> None:
    pattern = "(yes|no), [0-9]{2}!"
    for heard in answered(model, *(drawn(grammars.regex(pattern), seed) for seed in range(4))):
        assert re.fullmatch(pattern, text(heard))


@pytest.mark.parametrize("schema", [{"type": "banana"}, {"$ref": "#/nowhere"}, {"not": {"type": "string"}}])
def test_a_schema_that_is_none(grammars: Grammars, schema: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="the JSON schema cannot be used"):
        grammars.json_schema(schema)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?=a)b"])
def test_a_regular_expression_that_is_none(grammars: Grammars, pattern: str) -> None:
    with pytest.raises(SettingError, match="the regular expression cannot be used"):
        grammars.regex(pattern)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 10**9},
        {"type": "array", "maxItems": 1e9},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "string", "minLength": 10**6}]}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "a{2,1000000}"}}},
        {"$defs": {"x": {"type": "object", "minProperties": 10**30}}},
    ],
)
def test_what_repeats_more_often_than_a_response_could_is_refused(grammars: Grammars, schema: dict[str, Any]) -> None:
    """Llguidance 1.7, which vLLM 0.32 has, takes 94 bytes for each: one request of a tenant ended its server."""
    with pytest.raises(SettingError, match="choose at most 100,000"):
        grammars.json_schema(schema)


@pytest.mark.parametrize("pattern", ["a{1000000}", "(ab){1,1000000}", "a{3,}b{99999999999999999999}"])
def test_a_regular_expression_that_repeats_too_often_is_refused(grammars: Grammars, pattern: str) -> None:
    with pytest.raises(SettingError, match="choose at most 100,000"):
        grammars.regex(pattern)


def test_what_only_looks_like_repeats_is_taken(grammars: Grammars) -> None:
    grammars.regex(r"a\{1000000\}b{2,30}")
    grammars.json_schema({"type": "object", "properties": {"minItems": {"const": {"minItems": 10**9}}}})


def test_what_is_too_long(grammars: Grammars) -> None:
    with pytest.raises(SettingError, match="too long"):
        grammars.regex("a" * 100_001)
    with pytest.raises(SettingError, match="too long"):
        grammars.json_schema({"enum": ["a" * 100_001]})


def test_a_grammar_decides_when_a_response_ends(grammars: Grammars) -> None:
    with pytest.raises(SettingError, match="ignore_eos"):
        Sampling(grammar=grammars.regex("a"), ignore_eos=True)


def test_a_form_that_is_too_much_work_ends_its_row_alone(model: FrozenModel, grammars: Grammars) -> None:
    grammar = grammars.regex("(a?){1000}a{1000}")
    stuck, free = answered(model, drawn(grammar, 1), drawn(None, 1, count=5))
    assert stuck[-1].end is End.STUCK
    assert len(free) == 5
