"""vLLM loads prompts from object storage, here from a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.registry.locations import resolve_artifact_store
from tests.registry.object_store_server import Objects
from tests_vllm.factories import Row, drawn, expected, put, tiny
from tests_vllm.in_process_engine import answers, asked, running

POSITIONS = 40
TEXT = [3, 50, 7, 120, 9]


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with Objects() as objects, objects.reachable():
        objects.wait()
        yield objects.place()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FrozenModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def llm(model: FrozenModel, place: str) -> Iterator[Any]:
    with running(Path(model.name), place, max_num_seqs=4, num_gpu_blocks_override=24) as llm:
        yield llm


def test_prompts_are_loaded_from_object_storage(llm: Any, model: FrozenModel, place: str) -> None:
    rows = [Row(TEXT, put(place, model, drawn(model, POSITIONS, seed))) for seed in range(3)]
    assert [each.tokens for each in answers(llm, rows, 6)] == [each.tokens for each in expected(model, rows, 6)]


def test_a_changed_object_ends_its_request_with_an_error(llm: Any, model: FrozenModel, place: str) -> None:
    """No text is generated with a prompt that does not match its digest."""
    prompt, other = (put(place, model, drawn(model, POSITIONS, seed)) for seed in (10, 11))
    folders = resolve_artifact_store(place)
    contents = folders.read_files(other.asked.digest)
    folders.trash_artifact(prompt.asked.digest)
    folders.write_artifact(prompt.asked.digest, contents)
    [output] = asked(llm, [Row(TEXT, prompt)], 4)
    assert output.outputs[0].finish_reason == "error"
    assert list(output.outputs[0].token_ids) == []
