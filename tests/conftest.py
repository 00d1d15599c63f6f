"""Fixtures of all tests. Only tests marked `real` may use the real model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: tests must not use the network

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start; this process is set below

from tests import checking, folders

folders.in_memory()
checking.install()  # before the package is imported

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from softprompt.model import FrozenModel, load_model  # noqa: E402
from tests.registry.object_store_server import Objects  # noqa: E402
from tests.registry.postgres_server import Postgres  # noqa: E402
from tests.tiny import tiny_model  # noqa: E402
from tests.warm import Module  # noqa: E402

hypothesis.settings.register_profile("default", max_examples=10, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=200, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

torch.set_num_threads(1)  # tests run in parallel processes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow tests first: a slow test that starts last would keep the other processes waiting."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None)


@pytest.fixture(scope="session", autouse=True)
def hidden_state_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary folder for the hidden-state cache, not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hidden_state_cache")
        patch.setattr("softprompt.training.prompt_setup.get_cache_folder", lambda: folder)
        yield


@pytest.fixture
def model() -> FrozenModel:
    """Tiny random Llama."""
    return tiny_model("llama")


@pytest.fixture(scope="session")
def smollm2() -> FrozenModel:
    """Real model."""
    return load_model("smollm2-135m", device="cpu")


@pytest.fixture
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start comparison workers as forked processes with the libraries imported; another test starts one in full."""
    worker = "softprompt.comparison.runs.method_worker"
    monkeypatch.setattr(
        "softprompt.comparison.runs.subprocess_runner._start_worker", lambda errors: Module(worker, errors)
    )


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """Address of a Ray cluster of two nodes with one core each, which are processes of this machine."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own spelling; workers would give way to all other tests
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    cluster.add_node(**machine)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[[str, Sequence[Any]], Path]:
    """Return a function that writes records as JSONL and returns the path."""

    def write(name: str, rows: Sequence[Any]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


REVIEWS = [
    {"text": f"{subject} was {word}", "label": label}
    for subject in ("the film", "the plot", "its ending", "each scene", "the cast", "a song")
    for word, label in (("great fun", "good"), ("a bore", "bad"), ("lovely", "good"), ("awful", "bad"))
]


@pytest.fixture
def reviews(write_jsonl: Callable[[str, Sequence[Any]], Path]) -> Path:
    """24 short reviews with labels."""
    return write_jsonl("reviews.jsonl", REVIEWS)


@pytest.fixture
def pairs(write_jsonl: Callable[[str, Sequence[Any]], Path]) -> Path:
    """12 inputs with outputs."""
    rows = [
        {"input": f"name: {n}, food: {f}", "output": f"{n} serves {f}."}
        for n in ("Aro", "Ber", "Cil")
        for f in ("rice", "fish", "tea", "pie")
    ]
    return write_jsonl("pairs.jsonl", rows)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL server. Tests that stop the server must start their own."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_server() -> Iterator[Objects]:
    """S3 server."""
    with Objects() as server:
        with server.reachable():
            server.wait()
        yield server


@pytest.fixture
def objects(object_server: Objects) -> Iterator[Objects]:
    """S3 server that is reachable."""
    with object_server.reachable():
        yield object_server
