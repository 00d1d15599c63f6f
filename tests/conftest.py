"""What every test may ask for. The real model is asked for by tests marked `real`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: no test may reach a network

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes that tests start; their own number is set below

from tests import checking, folders

folders.in_memory()
checking.install()  # before the package is imported

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from softprompt.model import FrozenModel, load_model  # noqa: E402
from tests.store.objects import Objects  # noqa: E402
from tests.store.postgres import Postgres  # noqa: E402
from tests.tiny import tiny_model  # noqa: E402
from tests.warm import Module  # noqa: E402

hypothesis.settings.register_profile("default", max_examples=10, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=200, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

torch.set_num_threads(1)  # the tests themselves run in parallel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take a minute each come first: one of them begun last would keep the other processes waiting."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None)


@pytest.fixture(scope="session", autouse=True)
def trunks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What lies below prefixes is remembered in a folder of the tests', not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trunks")
        patch.setattr("softprompt.training.preparation.cache_folder", lambda: folder)
        yield


@pytest.fixture
def model() -> FrozenModel:
    """A tiny random Llama."""
    return tiny_model("llama")


@pytest.fixture(scope="session")
def smollm2() -> FrozenModel:
    """The real model."""
    return load_model("smollm2-135m", device="cpu")


@pytest.fixture
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison's workers are processes that have the libraries already; `test_apart.py` starts one in full."""
    worker = "softprompt.comparison.worker"
    monkeypatch.setattr("softprompt.comparison.apart._worker", lambda errors: Module(worker, errors))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster of two machines with one core each, which are processes of this one."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own spelling; workers would give way to all other tests
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    cluster.add_node(**machine)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[[str, Sequence[Any]], Path]:
    """Write rows as JSONL; gives the path."""

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
    """24 short reviews, good and bad."""
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
    """A PostgreSQL server; whoever stops it takes one of their own."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_server() -> Iterator[Objects]:
    """A server that speaks S3."""
    with Objects() as server:
        with server.reachable():
            server.wait()
        yield server


@pytest.fixture
def objects(object_server: Objects) -> Iterator[Objects]:
    """It, within reach."""
    with object_server.reachable():
        yield object_server
