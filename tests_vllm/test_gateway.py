"""The gateway in front of two vLLM servers answers as the embedded engine does, and continues when one is killed."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from softprompt.model import FrozenModel, load_meta_model
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.server.app_state import AppState
from softprompt.server.backends.engine_backend import EngineBackend
from softprompt.server.backends.inference_backend import BackendFactory
from softprompt.server.backends.vllm import VllmBackend
from softprompt.server.backends.vllm.local_server_supervisor import LocalServerSupervisor
from softprompt.server.backends.vllm.local_vllm_server import LocalVllmServer, build_arguments
from softprompt.server.runtime.api_server import ApiServer, bind_socket
from softprompt.server.server_config import ServerConfig
from softprompt.tasks import ClassificationTask, GenerationTask, Task
from tests.ports import free_port
from tests_vllm.factories import drawn, tiny

PROMPTS = 20
LENGTHS = (1, 7, 31, 32, 33, 64, 100)
LENGTH = 400  # positions of a row
ANSWERS = GenerationTask(template="Text: {input}\nAnswer:")
REVIEWS = ClassificationTask(labels=("good", "bad"), template="Text: {text}\nIt is")
ENDINGS = ClassificationTask(labels=("great fun", "great film", "bad", "a bore"), template="Text: {text}\nIt is")
COMPLETE, CLASSIFY = "/v1/completions", "/v1/classify"
TEXTS = ("the film was great", "a bore", "its plot and ending", "each scene is lovely, and not bad at all")


@dataclass(frozen=True)
class Place:
    """A server.

    Attributes:
        url: its address.
        parts: of it.
        store: the prompts' folder.
    """

    url: str
    parts: AppState
    store: Path

    def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        return httpx2.post(f"{self.url}{path}", json=body, timeout=300)


@contextmanager
def serving(model: FrozenModel, store: Path, opening: BackendFactory, **settings: Any) -> Iterator[Place]:
    """A server in a thread."""
    chosen = ServerConfig(
        **{
            "port": 0,
            "auth_enabled": False,
            "max_num_seqs": 32,
            "max_model_len": LENGTH,
            "shutdown_timeout": 5.0,
            **settings,
        }
    )
    with PromptRegistry.open(store) as opened, bind_socket(chosen) as listening:
        parts = AppState.from_config(chosen, model, opened, opening)
        server = ApiServer(parts)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield Place(f"http://127.0.0.1:{listening.getsockname()[1]}", parts, store)
        finally:
            server.should_exit = True
            thread.join(60)


def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FrozenModel, Path]:
    """A model in a folder, and a store of compiled prompts for it, and of one that is not."""
    folder = tmp_path_factory.mktemp("gateway")
    model = tiny(folder / "tiny")

    def prompt(task: Task, seed: int) -> SavedPrompt:
        prefix = drawn(model, LENGTHS[seed % len(LENGTHS)], seed)
        return SavedPrompt.from_payload(model, prefix, task, method={"name": "prefix"}, trained_parameters=1)

    with PromptRegistry.open(folder / "store", create=True) as store:
        for seed in range(PROMPTS):
            store.register_prompt(prompt(ANSWERS, seed), f"answers{seed}", tenant="default")
        store.register_prompt(prompt(REVIEWS, 30), "reviews")
        store.register_prompt(prompt(ENDINGS, 31), "endings")
        store.register_prompt(prompt(ANSWERS, 32), "lost")
    return folder / "tiny", model, folder / "store"


@pytest.fixture(scope="module")
def replicas(made: tuple[Path, FrozenModel, Path]) -> Iterator[list[LocalVllmServer]]:
    """Two vLLM servers, as the gateway itself starts one."""
    import sys

    folder, _, store = made
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
        found = []
        for _ in range(2):
            port = free_port()
            words = build_arguments(
                str(folder),
                str(store / "prompts"),
                max_model_len=LENGTH + 1,
                max_num_seqs=32,
                max_num_batched_tokens=256,
                dtype="float32",
                port=port,
            )
            words += ["--enforce-eager", "--num-gpu-blocks-override", "256"]
            found.append(stack.enter_context(LocalVllmServer(sys.executable, words, port)))
        for each in found:
            each.wait_until_ready()
        yield found


@pytest.fixture(scope="module")
def gateway(made: tuple[Path, FrozenModel, Path], replicas: list[LocalVllmServer]) -> Iterator[Place]:
    folder, _, store = made
    with serving(
        load_meta_model(str(folder)), store, VllmBackend.create_factory([each.url for each in replicas])
    ) as place:
        yield place


@pytest.fixture(scope="module")
def embedded(made: tuple[Path, FrozenModel, Path]) -> Iterator[Place]:
    _, model, store = made
    with serving(model, store, EngineBackend.from_config) as place:
        yield place


def asked(number: int, **more: Any) -> dict[str, Any]:
    """A completion behind a prompt, or behind none."""
    name = f"answers{number}" if number < PROMPTS else "tiny"
    body = {"model": name, "prompt": TEXTS[number % len(TEXTS)], "max_tokens": 12, "temperature": 0, "logprobs": 5}
    return {**body, "ignore_eos": True, **more}


def together(place: Place, path: str, bodies: list[dict[str, Any]]) -> list[Any]:
    """What is answered to requests that come at once."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: place.post(path, body), bodies))
    assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
    return [each.json() for each in answers]


def agree(one: Any, other: Any) -> bool:
    """Whether two choices say the same, log-probabilities within 1e-3."""
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(agree(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(agree, one, other))
    return one == (pytest.approx(other, abs=1e-3) if isinstance(other, float) else other)


def test_mixed_batches_have_the_tokens_and_probabilities_of_the_engine(embedded: Place, gateway: Place) -> None:
    bodies = [asked(number) for number in range(PROMPTS + 4)]
    own, other = (together(place, COMPLETE, bodies) for place in (embedded, gateway))
    assert len({each["choices"][0]["text"] for each in own}) > PROMPTS // 2
    for number, (one, two) in enumerate(zip(own, other, strict=True)):
        assert agree(one["choices"], two["choices"]), f"{number}: {one}\n{two}"
        assert one["usage"]["completion_tokens"] == two["usage"]["completion_tokens"]


@pytest.mark.parametrize("model", ["reviews", "endings"])
def test_labels_and_probabilities_equal_those_of_the_engine(embedded: Place, gateway: Place, model: str) -> None:
    body = {"model": model, "input": list(TEXTS) * 5}
    own, other = (place.post(CLASSIFY, body).json() for place in (embedded, gateway))
    for one, two in zip(own["data"], other["data"], strict=True):
        assert one["label"] == two["label"]
        assert one["probabilities"] == pytest.approx(two["probabilities"], abs=1e-3)


def test_concurrent_classification_does_not_change_top_logprobs(embedded: Place, gateway: Place) -> None:
    """VLLM's own option to return token ids would remove the alternatives of other requests."""
    bodies = [asked(number, max_tokens=24) for number in range(8)]
    own = together(embedded, COMPLETE, bodies)
    with ThreadPoolExecutor(1) as pool:
        labels = pool.submit(lambda: [gateway.post(CLASSIFY, {"model": "endings", "input": TEXTS}) for _ in range(4)])
        other = together(gateway, COMPLETE, bodies)
        assert {each.status_code for each in labels.result()} == {200}
    assert all(agree(one["choices"], two["choices"]) for one, two in zip(own, other, strict=True))


CASES: dict[str, dict[str, Any]] = {
    "a stop text": {"stop": ["e", "film"], "logprobs": None, "max_tokens": 40},
    "the end": {"ignore_eos": False, "max_tokens": 60},
    "several texts": {"prompt": list(TEXTS), "n": 2},
    "biases and penalties": {"logit_bias": {"7": 3, "9": -100}, "presence_penalty": 1.5, "frequency_penalty": 0.5},
    "as long as there is room": {"max_tokens": LENGTH - 60, "logprobs": None},
    "a regular expression": {"structured_outputs": {"regex": "[ab]{3,9}"}, "ignore_eos": False, "logprobs": None},
    "a choice": {"structured_outputs": {"choice": ["great fun", "a bore"]}, "ignore_eos": False, "logprobs": None},
    "too long": {"prompt": "the film " * 200, "max_tokens": 300},
}


@pytest.mark.parametrize("name", CASES)
def test_the_response_to_each_request_equals_that_of_the_engine(embedded: Place, gateway: Place, name: str) -> None:
    own, other = (place.post(COMPLETE, asked(3, **CASES[name])) for place in (embedded, gateway))
    assert own.status_code == other.status_code, other.text
    assert agree(own.json().get("choices"), other.json().get("choices")), f"{own.text}\n{other.text}"
    assert own.json().get("error") == other.json().get("error")


def test_a_request_with_a_seed_returns_the_same_text_again(gateway: Place) -> None:
    body = asked(2, temperature=1.2, seed=-1, top_p=0.9, min_p=0.01, top_k=50, n=2)
    first, again = (gateway.post(COMPLETE, body).json()["choices"] for _ in range(2))
    assert [each["text"] for each in first] == [each["text"] for each in again]
    assert first[0]["text"] != first[1]["text"]


def test_streamed_text_joins_to_the_whole_response(gateway: Place) -> None:
    whole = gateway.post(COMPLETE, asked(5)).json()
    events = streamed(gateway, asked(5, stream=True, stream_options={"include_usage": True}))
    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == whole["choices"][0]["text"]
    assert len(events) == 13
    assert events[-1]["usage"]["completion_tokens"] == 12


def streamed(place: Place, body: dict[str, Any]) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in place.post(COMPLETE, body).text.split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_a_prompt_that_no_replica_can_read_is_reported(gateway: Place) -> None:
    [version] = next(each for each in gateway.parts.registry.list_prompts() if each.name == "lost").versions
    assert gateway.post(COMPLETE, asked(0, model="lost", **CASES["too long"])).status_code == 400  # it was read here
    for file in (gateway.store / "prompts" / version.digest).iterdir():
        file.unlink()
    answer = gateway.post(COMPLETE, asked(0, model="lost"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "prompt_unavailable")
    assert gateway.post(COMPLETE, asked(0)).status_code == 200


def running(replica: LocalVllmServer) -> float:
    """Requests that it has."""
    text = httpx2.get(f"{replica.url}/metrics", timeout=30).text
    return sum(float(each) for each in re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", text, re.M))


def test_a_client_that_disconnects_ends_its_response(gateway: Place, replicas: list[LocalVllmServer]) -> None:
    body = asked(4, max_tokens=LENGTH - 120, stream=True)
    with httpx2.stream("POST", f"{gateway.url}{COMPLETE}", json=body, timeout=60) as answer:
        next(answer.iter_lines())
    until(lambda: sum(map(running, replicas)) == 0, 20)


def test_no_request_is_lost_when_a_replica_is_killed_under_load(
    gateway: Place, replicas: list[LocalVllmServer]
) -> None:
    """It leaves one replica; the next test starts the other one again."""
    bodies = [asked(number % (PROMPTS + 4), max_tokens=20 + number % 60) for number in range(96)]
    right = [each["choices"] for each in together(gateway, COMPLETE, bodies)]
    replica_pool = gateway.parts.backend.replica_pool  # type: ignore[attr-defined]
    with ThreadPoolExecutor(48) as pool:
        answers = [pool.submit(gateway.post, COMPLETE, body) for body in bodies]
        until(
            lambda: (
                all(replica_pool.replicas[each.url].load >= 8 for each in replicas)
                and any(each.done() for each in answers)
            )
        )
        doomed = max(replicas, key=lambda each: replica_pool.replicas[each.url].load)
        assert doomed._process is not None
        doomed._process.send_signal(signal.SIGKILL)
        found = [each.result() for each in answers]
    assert doomed.url not in replica_pool.healthy_replicas
    lost = [each for each in found if each.status_code != 200]
    assert {each.json()["error"]["code"] for each in lost} <= {"stream_interrupted"}
    assert len(lost) <= 2  # that had begun, and that rounding let go on otherwise
    for answer, expected in zip(found, right, strict=True):
        assert answer.status_code != 200 or agree(answer.json()["choices"], expected)


def test_a_killed_replica_is_started_again_and_serves(gateway: Place, replicas: list[LocalVllmServer]) -> None:
    replica_pool = gateway.parts.backend.replica_pool  # type: ignore[attr-defined]
    [killed] = [each for each in replicas if not each.is_running]
    bodies = [asked(number % (PROMPTS + 4)) for number in range(48)]
    right = [each["choices"] for each in together(gateway, COMPLETE, bodies)]
    with LocalServerSupervisor(killed, first_wait_s=0.1):
        until(lambda: killed.url in replica_pool.healthy_replicas, 240)
        answers = together(gateway, COMPLETE, bodies)
        served = httpx2.get(f"{killed.url}/metrics", timeout=30).text
    assert all(agree(answer["choices"], expected) for answer, expected in zip(answers, right, strict=True))
    counts = re.findall(r"^vllm:request_success_total\{.*\} (\S+)$", served, re.M)
    assert sum(map(float, counts)) > 0
