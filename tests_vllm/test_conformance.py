"""The engine and vLLM with the plugin generate the same tokens: the test that a new vLLM must pass."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import load_model
from softprompt.model.model_files import resolve_model_files
from softprompt.vllm.host_prefix_cache import ConnectorCounters
from tests_vllm.factories import Answer, Prompt, Row, expected, left_by, noisy, put
from tests_vllm.in_process_engine import BLOCK, answers, halves, running

MODEL = "smollm2-135m"
NEW = 16
TEXTS = (
    "The old harbour smelled of tar and salt.",
    "def add(a, b):\n    return a + b\n",
    "Answer in French. Réponds en français.",
    "List three fruits:\n1. apple\n2. pear\n3.",
    "Dear customer, we are sorry to hear that",
    "Once upon a time there was a fox who",
)
QUESTIONS = (
    "The capital of France is",
    "What do you think about the film?",
    "Translate: good morning",
    "Write one line about the sea.",
    "Is this good or bad? I loved it.",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], list[Answer]]:
    """A store with 24 prompts of many lengths, rows behind them and behind none, and our engine's answers."""
    place = tmp_path_factory.mktemp("store") / "prompts"
    model = load_model(MODEL, device="cpu")
    lengths = [1, 7, 16, 31, 32, 33, 40, 63, 64, 65, 96, 100]
    left = [left_by(model, text, max(lengths)) for text in TEXTS]
    prompts: list[Prompt | None] = [
        put(place, model, noisy(left[number % len(TEXTS)][..., : lengths[number % len(lengths)], :], number))
        for number in range(24)
    ]
    texts = [model.prompt_tokenizer.encode_text(question) for question in QUESTIONS]
    rows = [
        Row(texts[number % 5], prompt, f"tenant{number % 3}") for number, prompt in enumerate([*prompts, None, None])
    ]
    return place, rows, expected(model, rows, NEW)


@pytest.fixture(scope="module")
def llm(made: tuple[Path, list[Row], list[Answer]]) -> Iterator[Any]:
    with running(resolve_model_files(MODEL).folder, made[0], max_num_seqs=32) as llm:
        yield llm


def agree(found: list[Answer], right: list[Answer]) -> None:
    for number, (one, other) in enumerate(zip(found, right, strict=True)):
        assert one.tokens == other.tokens, number
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3), number
        for token, logprob in other.best.items():
            assert one.best.get(token, logprob) == pytest.approx(logprob, abs=1e-3), number


def test_responses_of_one_batch_equal_those_of_the_engine(llm: Any, made: tuple[Path, list[Row], list[Answer]]) -> None:
    _, rows, right = made
    assert len({tuple(each.tokens) for each in right}) > 20  # the prompts tell them apart
    agree(answers(llm, rows, NEW), right)


def test_repeated_requests_load_no_prompt_and_write_only_partial_blocks(
    llm: Any, made: tuple[Path, list[Row], list[Answer]]
) -> None:
    _, rows, right = made
    answers(llm, rows, NEW)
    worker = halves(llm)[1]
    before: ConnectorCounters = worker.counters
    agree(answers(llm, rows, NEW), right)
    after: ConnectorCounters = worker.counters
    assert after.prompt_loads == before.prompt_loads == 24
    positions = [row.prompt.asked.num_positions for row in rows if row.prompt]
    assert after.prefix_positions_written - before.prefix_positions_written <= sum(each % BLOCK for each in positions)


def test_responses_do_not_depend_on_other_requests(llm: Any, made: tuple[Path, list[Row], list[Answer]]) -> None:
    _, rows, right = made
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    for start in range(0, len(order), 7):
        some = order[start : start + 7]
        agree(answers(llm, [rows[number] for number in some], NEW), [right[number] for number in some])


def test_the_response_names_its_prompt(llm: Any, made: tuple[Path, list[Row], list[Answer]]) -> None:
    from tests_vllm.in_process_engine import asked

    _, rows, _ = made
    assert [each.kv_transfer_params for each in asked(llm, rows, 2)] == [row.parameters for row in rows]
