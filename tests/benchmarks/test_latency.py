"""The latency benchmark measures the requests of a running server; vLLM is not needed for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from benchmarks import latency
from benchmarks.latency import REQUEST_KINDS, compare_sides, create_own_requests, format_table, measure_rounds
from benchmarks.lib.keep_alive_client import KeepAliveClient
from benchmarks.lib.process_suspender import ProcessSuspender
from softprompt.registry import PromptRegistry
from tests.server.live_server import BASE, REVIEWS, chatting_model, prompt_for, running


class Turns(ProcessSuspender):
    """Notes whose turn it is, and suspends nobody."""

    def __init__(self) -> None:
        super().__init__({})
        self.turns = list[str]()

    @contextmanager
    def suspend_others(self, name: str) -> Iterator[None]:
        self.turns.append(name)
        yield


def test_both_servers_are_measured_in_turns_on_one_connection(tmp_path: Path) -> None:
    model, turns = chatting_model(), Turns()
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        store.register_prompt(prompt_for(model, REVIEWS), latency.CLASSIFIER_NAME)
    with running(tmp_path / "store", model) as server, closing(KeepAliveClient(server.url)) as client:
        ways = create_own_requests(client, BASE)
        assert set(ways) == set(latency.create_vllm_requests(KeepAliveClient(server.url))) == set(REQUEST_KINDS)
        seconds = measure_rounds({"softprompt": ways, "vllm": ways}, rounds=2, warmup_rounds=1, suspender=turns)
        assert len(server.server.server_state.connections) == 1
    assert turns.turns == ["softprompt", "vllm"] * 3
    assert all(len(taken[kind]) == 2 and min(taken[kind]) > 0 for taken in seconds.values() for kind in REQUEST_KINDS)


def test_an_unauthorized_response_ends_the_benchmark(tmp_path: Path) -> None:
    with (
        running(tmp_path / "store", chatting_model(), auth_enabled=True) as server,
        closing(KeepAliveClient(server.url, "sp-wrong")) as client,
        pytest.raises(SystemExit, match="401"),
    ):
        create_own_requests(client, BASE)["first_token"]("the film")


def test_the_report_has_medians_and_their_ratio() -> None:
    ours = {kind: [0.003, 0.001, 0.002] for kind in REQUEST_KINDS}
    theirs = {kind: [0.004, 0.005, 0.100] for kind in REQUEST_KINDS}
    found = compare_sides({"softprompt": ours, "vllm": theirs})
    assert found["classify"] == {"softprompt_ms": 2.0, "vllm_ms": 5.0, "ratio": 0.4}
    assert "| first token | 2.00 | 5.00 | 0.40 |" in format_table(found)
    assert "| health | 2.00 | – | – |" in format_table(compare_sides({"softprompt": ours}))
