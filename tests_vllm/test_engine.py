"""A failure in vLLM's engine ends one request with an error, and placeholders are never computed as text.

The model is tiny, the KV cache so small that requests are preempted, and steps so short that texts are prefilled in
chunks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from softprompt.model import FrozenModel, PromptEmbeddings
from softprompt.vllm.host_prefix_cache import ConnectorCounters
from softprompt.vllm.request_validator import RequestValidator
from softprompt.vllm_protocol import PromptTransferParams
from tests_vllm.factories import Answer, Prompt, Row, drawn, expected, put, tiny
from tests_vllm.in_process_engine import answers, asked, halves, running

BLOCKS, STEP, ROWS = 24, 48, 16  # of vLLM's cache, tokens of a step, rows at once
POSITIONS = 40
SHARE = 3 * 2 * 2 * POSITIONS * 32 * 4  # bytes of a prompt of so many positions
KEPT = 50  # prompts that there is RAM for


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "prompts"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FrozenModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def llm(model: FrozenModel, place: Path) -> Iterator[Any]:
    with running(
        Path(model.name),
        place,
        {"cache_mib": KEPT * SHARE / 2**20},
        num_gpu_blocks_override=BLOCKS,
        max_num_seqs=ROWS,
        max_num_batched_tokens=STEP,
    ) as llm:
        yield llm


@pytest.fixture
def prompt(place: Path, model: FrozenModel, request: pytest.FixtureRequest) -> Prompt:
    """One that no other test has."""
    return put(place, model, drawn(model, POSITIONS, sum(map(ord, request.node.name)) + 100_000))


def text(number: int, length: int = 6) -> list[int]:
    return [3 + (number * 7 + at * 13) % 500 for at in range(length)]


def tokens(found: list[Answer]) -> list[list[int]]:
    return [each.tokens for each in found]


def fails(llm: Any, row: Row, **sampling: Any) -> None:
    """Nothing is written behind a row, and that it ended in an error is told; the next request is answered."""
    [output] = asked(llm, [row], 4, **sampling)
    [one] = output.outputs
    assert one.finish_reason == "error"
    assert list(one.token_ids) == []
    [after] = asked(llm, [Row(text(1))], 4)
    assert after.outputs[0].finish_reason == "length"


def test_long_texts_are_prefilled_in_chunks_after_prompts(llm: Any, model: FrozenModel, prompt: Prompt) -> None:
    rows = [Row(text(number, 130), prompt) for number in range(3)]
    assert tokens(answers(llm, rows, 6)) == tokens(expected(model, rows, 6))


def test_seeded_responses_are_equal_whether_or_not_their_text_is_prefilled_in_chunks(llm: Any) -> None:
    """The second request needs no chunks, since the first one's text is in vLLM's prefix cache."""
    row = Row(text(77, 130))
    first, second = (asked(llm, [row], 8, temperature=1, seed=3)[0].outputs[0].token_ids for _ in range(2))
    assert list(first) == list(second)
    assert len(first) == 8


def test_prefixes_of_preempted_sequences_are_written_again(
    llm: Any, model: FrozenModel, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sequence grows over four blocks, and the KV cache has a third of them."""
    scheduler, times = llm.llm_engine.engine_core.engine_core.scheduler, []
    preempt = scheduler._preempt_request
    monkeypatch.setattr(scheduler, "_preempt_request", lambda *a, **b: (times.append(1), preempt(*a, **b))[1])
    rows = [Row(text(number), put(place, model, drawn(model, POSITIONS, 500 + number))) for number in range(ROWS)]
    worker = halves(llm)[1]
    before: ConnectorCounters = worker.counters
    found = answers(llm, rows, 64)
    assert times
    assert (
        worker.counters.prefix_positions_written - before.prefix_positions_written > ROWS * POSITIONS
    )  # some were put there again
    assert tokens(found) == tokens(expected(model, rows, 64))


def test_a_thousand_prompts_are_served_with_a_cache_for_fifty(llm: Any, model: FrozenModel, place: Path) -> None:
    rows = [Row(text(number), put(place, model, drawn(model, POSITIONS, 1000 + number))) for number in range(1000)]
    worker = halves(llm)[1]
    before: ConnectorCounters = worker.counters
    found = answers(llm, rows, 2)
    after: ConnectorCounters = worker.counters
    assert after.prompt_loads - before.prompt_loads == 1000
    assert after.prompt_cache_evictions - before.prompt_cache_evictions >= 1000 - KEPT
    assert worker._prefix_cache.num_bytes <= KEPT * SHARE
    some = range(0, 1000, 40)
    assert [found[at].tokens for at in some] == tokens(expected(model, [rows[at] for at in some], 2))


def test_a_prompt_that_was_evicted_from_ram_blocks_no_step(
    llm: Any, model: FrozenModel, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(text(number), put(place, model, drawn(model, POSITIONS, 5000 + number))) for number in range(KEPT + 10)]
    found = answers(llm, rows, 2)
    llm.reset_prefix_cache()
    worker = halves(llm)[1]
    loads, start = [], worker._connector_worker.start_load_kv

    def noted(metadata: Any, layers: Any) -> None:
        loads.extend((each.params.digest in worker._prefix_cache, True) for each in metadata.sync_loads)
        loads.extend((each.params.digest in worker._prefix_cache, False) for each in metadata.async_loads)
        start(metadata, layers)

    monkeypatch.setattr(worker._connector_worker, "start_load_kv", noted)
    asked_again = [rows[0], rows[-1]]  # the first is the least recently used
    assert tokens(answers(llm, asked_again, 2)) == [found[0].tokens, found[-1].tokens]
    assert sorted(loads) == [(False, False), (True, True)]


def test_prompts_with_the_same_cache_salt_share_no_blocks(llm: Any, model: FrozenModel, place: Path) -> None:
    class Salted(Row):
        salt = "the same for all"

    prompts = [put(place, model, drawn(model, 64, 3000 + number)) for number in range(3)]
    rows = [Salted(text(5, 40), each) for each in prompts]
    for row, right in zip(rows, expected(model, rows, 6), strict=True):
        assert answers(llm, [row], 6)[0].tokens == right.tokens


def test_a_prefix_is_written_once_for_requests_with_the_same_cache_salt(
    llm: Any, model: FrozenModel, place: Path
) -> None:
    row = Row(text(5, 40), put(place, model, drawn(model, 64, 3100)))
    first = answers(llm, [row], 6)
    before: ConnectorCounters = halves(llm)[1].counters
    assert tokens(answers(llm, [row], 6)) == tokens(first)
    assert halves(llm)[1].counters == before


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at requests before they reach the engine."""
    monkeypatch.setattr(RequestValidator, "validate_params", lambda _: None)
    from vllm.v1.sample import logits_processor

    monkeypatch.setattr(logits_processor, "cached_load_custom_logitsprocs", lambda _: [RequestValidator])


class Wrong(Row):
    """A row that is not what it should be."""

    sent: list[int] | None = None
    said: dict[str, Any] | None = None

    @property
    def tokens(self) -> list[int]:
        return super().tokens if self.sent is None else self.sent

    @property
    def parameters(self) -> dict[str, Any] | None:
        return super().parameters if self.said is None else self.said


def wrong(prompt: Prompt, **said: Any) -> Row:
    made = Wrong(text(1), prompt)
    for name, value in said.items():
        object.__setattr__(made, name, value)
    return made


def test_other_tokens_than_placeholders_are_rejected(llm: Any, prompt: Prompt, unseen: None) -> None:
    fails(llm, wrong(prompt, sent=[5] * POSITIONS + text(1)))


def test_too_few_placeholders_are_rejected(llm: Any, prompt: Prompt, unseen: None) -> None:
    fails(llm, wrong(prompt, sent=[0] * (POSITIONS - 1) + text(1)))


def test_placeholders_without_text_are_rejected(llm: Any, prompt: Prompt, unseen: None) -> None:
    fails(llm, wrong(prompt, sent=[0] * POSITIONS))


@pytest.mark.parametrize("positions", [POSITIONS - 8, POSITIONS + 3])
def test_a_wrong_number_of_positions_is_rejected(llm: Any, prompt: Prompt, unseen: None, positions: int) -> None:
    fails(llm, Row(text(1), replace(prompt, asked=PromptTransferParams(prompt.asked.digest, positions))))


def test_placeholders_without_a_prompt_are_rejected(llm: Any, unseen: None) -> None:
    fails(llm, Row([0] * POSITIONS + text(1)))


def test_a_misspelled_prompt_parameter_is_rejected(llm: Any, prompt: Prompt, unseen: None) -> None:
    fails(llm, wrong(prompt, said={"softpromt": prompt.asked.to_kv_transfer_params()["softprompt"]}))


def test_log_probabilities_of_the_prompt_are_rejected(llm: Any, prompt: Prompt, unseen: None) -> None:
    fails(llm, Row(text(1), prompt), prompt_logprobs=1)


def test_skipping_the_prefix_cache_is_rejected(llm: Any, prompt: Prompt, unseen: None) -> None:
    fails(llm, Row(text(1), prompt), skip_reading_prefix_cache=True)


def test_a_missing_prompt_is_rejected(llm: Any, prompt: Prompt, place: Path, unseen: None) -> None:
    shutil.rmtree(place / prompt.asked.digest)
    fails(llm, Row(text(1), prompt))


def test_a_corrupt_prompt_is_rejected_until_it_is_repaired(
    llm: Any, model: FrozenModel, prompt: Prompt, place: Path, unseen: None
) -> None:
    [file] = (place / prompt.asked.digest).glob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    row = Row(text(1), prompt)
    fails(llm, row)
    file.write_bytes(content)  # mended
    assert tokens(answers(llm, [row], 4)) == tokens(expected(model, [row], 4))


def test_a_prompt_for_another_model_is_rejected(llm: Any, model: FrozenModel, place: Path, unseen: None) -> None:
    import copy

    from softprompt.model import freeze_network

    network = copy.deepcopy(model.network)
    with_other = freeze_network(network, model.tokenizer, "another")
    for parameter in network.parameters():
        parameter.add_(0.01)
    fails(llm, Row(text(1), put(place, with_other, drawn(model, POSITIONS, 4000))))


def test_prompt_embeddings_are_rejected(llm: Any, model: FrozenModel, place: Path, unseen: None) -> None:
    payload = PromptEmbeddings(torch.randn(POSITIONS, model.shape.embedding_size))
    fails(llm, Row(text(1), put(place, model, payload)))


def test_requests_fail_after_their_prompt_is_removed_from_ram_and_disk(
    llm: Any, model: FrozenModel, prompt: Prompt, place: Path, unseen: None
) -> None:
    """The prompt was loaded before, so the scheduler does not wait for it."""
    row = Row(text(1), prompt)
    answers(llm, [row], 4)
    scheduler, worker = halves(llm)
    assert prompt.asked.digest in scheduler._connector_scheduler._loaded
    with worker._prefix_cache._lock:
        worker._prefix_cache.num_bytes -= worker._prefix_cache._entries.pop(prompt.asked.digest).nbytes
    shutil.rmtree(place / prompt.asked.digest)
    fails(llm, Row(text(2), prompt))
    fails(llm, Row(text(2), prompt))


def test_many_rejected_requests_do_not_affect_others(
    llm: Any, model: FrozenModel, prompt: Prompt, unseen: None
) -> None:
    good = [Row(text(number), prompt) for number in range(8)]
    bad = [wrong(prompt, sent=[5] * POSITIONS + text(number)) for number in range(8)]
    mixed = [row for pair in zip(good, bad, strict=True) for row in pair]
    found = [list(each.outputs[0].token_ids) for each in asked(llm, mixed, 6)]
    assert found[1::2] == [[]] * 8
    assert found[::2] == tokens(expected(model, good, 6))


def test_finished_requests_leave_no_state_and_no_blocks(llm: Any) -> None:
    scheduler, worker = halves(llm)
    side, worker_side = scheduler._connector_scheduler, worker._connector_worker
    left = [side._params, side._rejected, side._expected_tokens, side._loading]
    assert not any([*left, worker_side._pending, worker_side._rejected, worker_side._invalid_block_ids])
    pool = llm.llm_engine.engine_core.engine_core.scheduler.kv_cache_manager.block_pool
    assert pool.get_num_free_blocks() == BLOCKS - 1  # vLLM keeps one for itself


def test_invalid_requests_are_rejected_before_the_engine_with_the_reason(llm: Any, prompt: Prompt) -> None:
    from vllm.exceptions import VLLMValidationError

    with pytest.raises(VLLMValidationError, match="^softprompt: .*log-probabilities"):
        asked(llm, [Row(text(1), prompt)], 4, prompt_logprobs=1)
    with pytest.raises(VLLMValidationError, match="^softprompt: .*nothing else"):
        asked(llm, [wrong(prompt, said={"softprompt": {}})], 4)
    answers(llm, [Row(text(1), prompt)], 4)
