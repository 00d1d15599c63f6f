"""The manifest `softprompt.json`: its contents, and the rejection of invalid ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from softprompt.errors import CorruptPrompt, NotASavedPrompt, UnsupportedPromptFormat
from softprompt.saved import Manifest
from softprompt.tasks import GenerationTask
from tests.saved.factories import make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of a prompt's manifest."""
    make().save_to(tmp_path / "p")
    return tmp_path / "p" / "softprompt.json"


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_the_manifest_describes_format_method_base_model_task_and_metrics(path: Path) -> None:
    fields = json.loads(path.read_text(encoding="utf-8"))
    assert fields["format"] == 1
    assert fields["method"]["name"] == "prompt"
    assert fields["payload"] == "embeddings"
    assert fields["num_virtual_tokens"] == 3
    assert fields["placement"] == "before"
    assert fields["base"]["name"] == "tiny-llama-0"
    assert fields["base"]["dtype"] == "float32"
    assert fields["base"]["shape"]["hidden_size"] == 24
    assert fields["task"]["labels"] == ["good", "bad"]
    assert fields["metrics"]["validation"]["accuracy"] == 0.75
    assert set(fields["versions"]) == {"softprompt", "torch", "transformers"}


def test_the_manifest_is_indented_and_contains_unescaped_unicode(path: Path) -> None:
    task = GenerationTask(template="评论：{input}\n")
    manifest = make().manifest.model_copy(update={"task": task}).with_content_hash()
    assert "评论：{input}" in manifest.to_json()
    assert manifest.to_json().count("\n") > 20
    path.write_text(manifest.to_json(), encoding="utf-8")
    assert Manifest.from_folder(path.parent) == manifest


def test_the_layout_of_the_manifest_file_does_not_change_what_is_read(path: Path) -> None:
    manifest = Manifest.from_folder(path.parent)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(fields.items()))))
    assert Manifest.from_folder(path.parent) == manifest


def test_the_content_hash_depends_on_every_other_field() -> None:
    manifest = make().manifest
    for field, value in (
        ("method", {"name": "prefix"}),
        ("num_virtual_tokens", 4),
        ("metrics", {}),
        ("tensors_sha256", "sha256:0"),
        ("versions", {}),
    ):
        assert manifest.model_copy(update={field: value}).with_content_hash().content_hash != manifest.content_hash
    assert manifest.with_content_hash() == manifest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", {"name": "prefix"}),
        ("metrics", {"step": 5, "validation": {"accuracy": 0.99, "loss": 0.5}}),
        ("placement", "after-bos"),
        ("trained_parameters", 1),
        ("content_hash", "sha256:0"),
        ("content_hash", ""),
    ],
)
def test_a_manifest_with_a_changed_field_is_rejected(path: Path, field: str, value: Any) -> None:
    change(path, **{field: value})
    with pytest.raises(CorruptPrompt, match=r"softprompt\.json was changed after it was written"):
        Manifest.from_folder(path.parent)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens"),
        ({"num_virtual_tokens": "many"}, "num_virtual_tokens"),
        ({"payload": "magic"}, "payload"),
        ({"placement": "middle"}, "placement"),
        ({"task": {"kind": "translation"}}, "task"),
        ({"base": {}}, "base.name"),
        ({"metrics": None}, "metrics"),
    ],
)
def test_the_error_of_an_invalid_field_names_the_field(path: Path, fields: dict[str, Any], named: str) -> None:
    change(path, **fields)
    with pytest.raises(CorruptPrompt, match=rf"softprompt\.json is damaged: {named}"):
        Manifest.from_folder(path.parent)


def test_the_error_of_a_missing_field_names_the_field(path: Path) -> None:
    fields = json.loads(path.read_text())
    del fields["tensors_sha256"]
    path.write_text(json.dumps(fields))
    with pytest.raises(CorruptPrompt, match="tensors_sha256: Field required"):
        Manifest.from_folder(path.parent)


def test_the_error_of_a_later_format_recommends_an_upgrade(path: Path) -> None:
    change(path, format=2, something_new=[1, 2])
    with pytest.raises(
        UnsupportedPromptFormat, match="has format 2, but this softprompt reads formats up to 1: upgrade softprompt"
    ):
        Manifest.from_folder(path.parent)


@pytest.mark.parametrize("text", ["", "{", "softprompt", "[" * 100_000, "9" * 5000, '{"format": 1'])
def test_manifests_that_are_not_json_are_rejected(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CorruptPrompt, match=r"softprompt\.json is damaged"):
        Manifest.from_folder(path.parent)


def test_manifests_that_are_not_utf8_are_rejected(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorruptPrompt, match=r"softprompt\.json is damaged"):
        Manifest.from_folder(path.parent)


@pytest.mark.parametrize("text", ["[]", "null", "1", "{}", '{"format": "1"}', '{"format": null}'])
def test_manifests_without_a_valid_format_are_rejected(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CorruptPrompt, match="has no valid format"):
        Manifest.from_folder(path.parent)


@pytest.mark.parametrize("field", ["method", "versions", "metrics"])
def test_manifests_with_lone_surrogates_are_rejected(path: Path, field: str) -> None:
    change(path, **{field: {"a": "\ud800"}})
    with pytest.raises(CorruptPrompt, match=r"softprompt\.json is damaged: .*surrogates not allowed"):
        Manifest.from_folder(path.parent)


def test_deeply_nested_manifests_are_rejected(path: Path) -> None:
    change(path, metrics={"a": json.loads("[" * 400 + "]" * 400)})
    with pytest.raises(CorruptPrompt, match=r"softprompt\.json is damaged"):
        Manifest.from_folder(path.parent)


def test_reading_a_missing_folder_raises_not_a_saved_prompt(tmp_path: Path) -> None:
    with pytest.raises(NotASavedPrompt, match="gone is not a saved prompt: the folder does not exist"):
        Manifest.from_folder(tmp_path / "gone")


def test_reading_a_folder_without_a_manifest_raises_not_a_saved_prompt(tmp_path: Path) -> None:
    with pytest.raises(NotASavedPrompt, match=r"is not a saved prompt: it has no softprompt\.json$"):
        Manifest.from_folder(tmp_path)
