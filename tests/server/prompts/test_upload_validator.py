"""An upload is a valid prompt for this base model or rejected, whatever its bytes."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softprompt.errors import BaseModelMismatch, CorruptPrompt, NotASavedPrompt, SoftPromptError
from softprompt.model import Placement
from softprompt.saved import Manifest, SavedPrompt
from softprompt.saved.tensor_files import compute_sha256
from softprompt.server.exception_handlers import to_api_error
from softprompt.server.prompts.upload_validator import UPLOAD_PATH, UploadLimits, UploadValidator
from softprompt.server.request_errors import InvalidRequest, UploadTooLarge
from tests.saved.factories import make, random_head
from tests.strategies import random_embeddings
from tests.tiny import shared_model, tiny_model

MODEL = shared_model("llama")
UPLOADS = UploadValidator(MODEL)
PEFT = make().files
OWN = make(random_embeddings(MODEL, 3, seed=0, placement=Placement.AFTER_BOS), head=random_head(MODEL)).files
KINDS = pytest.mark.parametrize("files", [PEFT, OWN], ids=["peft", "own"])


def tensors_of(files: dict[str, bytes]) -> str:
    [name] = [name for name in files if name.endswith(".safetensors")]
    return name


def forged(files: dict[str, bytes], tensors: bytes | None = None, **fields: Any) -> dict[str, bytes]:
    """The files by somebody who knows how to compute hashes."""
    name = tensors_of(files)
    tensors = files[name] if tensors is None else tensors
    manifest = {**json.loads(files["softprompt.json"]), "tensors_sha256": compute_sha256(tensors), **fields}
    manifest["content_hash"] = ""
    with suppress(ValueError, RecursionError):  # then it is refused for another reason
        manifest["content_hash"] = Manifest.model_validate(manifest).with_content_hash().content_hash
    return {**files, name: tensors, "softprompt.json": json.dumps(manifest).encode()}


def with_header(files: dict[str, bytes], change: Any) -> dict[str, bytes]:
    """The files with another header of their tensors."""
    content = files[tensors_of(files)]
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    text = change(header) if callable(change) else change
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return forged(files, struct.pack("<Q", len(text)) + text + content[8 + length :])


def refusal(files: dict[str, bytes]) -> str:
    with pytest.raises((SoftPromptError, InvalidRequest)) as raised:
        UPLOADS.parse_prompt(files)
    return str(raised.value)


@KINDS
def test_a_valid_upload_is_parsed(files: dict[str, bytes]) -> None:
    saved = UPLOADS.parse_prompt(files)
    assert saved.files == files
    assert UPLOADS.parse_prompt(forged(files)).manifest == saved.manifest


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["softprompt.json"],
        ["softprompt.json", "adapter_model.safetensors"],
        ["adapter_config.json", "adapter_model.safetensors"],
        [*PEFT, "prompt.safetensors"],
        [*OWN, "pytorch_model.bin"],
        ["softprompt.json", "../prompt.safetensors"],
    ],
)
def test_uploads_with_missing_or_unexpected_files_are_rejected(names: list[str]) -> None:
    with pytest.raises(NotASavedPrompt, match="send softprompt.json with"):
        UPLOADS.parse_prompt(dict.fromkeys(names, b""))


def test_files_that_are_too_large_are_rejected() -> None:
    uploads = UploadValidator(MODEL, UploadLimits(max_request_bytes=1000, max_manifest_bytes=10))
    with pytest.raises(UploadTooLarge) as raised:
        uploads.check_files({"softprompt.json": 11, "prompt.safetensors": 1})
    error = to_api_error(raised.value)
    assert (error.status, error.code, error.param) == (413, "too_large", "file")
    with pytest.raises(UploadTooLarge):
        uploads.check_files({"softprompt.json": 1, "prompt.safetensors": 1001})


def test_a_prompt_for_another_base_model_is_rejected_without_showing_a_path() -> None:
    other = tiny_model("llama", seed=5)
    with pytest.raises(BaseModelMismatch, match="this server runs tiny-llama-0"):
        UPLOADS.parse_prompt(make(model=other, payload=random_embeddings(other, 3, seed=0)).files)


def entry(**changes: Any) -> Any:
    return lambda header: {**header, "prompt_embeddings": {**header["prompt_embeddings"], **changes}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (entry(dtype="I64"), "have a dtype of F64"),
        (entry(dtype=["F32"]), "have a dtype of F64"),
        (entry(shape=[3, 25]), "the shape"),
        (entry(shape=[72]), "the shape"),
        (entry(shape=[3.0, 24]), "the shape"),
        (entry(shape=[2**62, 2**62]), "the shape"),
        (entry(data_offsets=[0, 287]), "do not match its shape"),
        (entry(data_offsets=[4, 292]), "overlap, leave a gap, or do not end with"),
        (entry(data_offsets=[-4, 284]), "two data_offsets"),
        (entry(data_offsets=[0]), "two data_offsets"),
        (entry(more=1), "nothing else"),
        (lambda header: {**header, "code": header["prompt_embeddings"]}, "nothing else"),
        (lambda header: {}, "must hold prompt_embeddings"),
        (b"[]", "must be a JSON object"),
        (b"{]", "not valid JSON"),
        (b'{"a": 1, "a": 2}', "duplicate key"),
        (b"[" * 60_000, "not valid JSON"),
        (b" " * 70_000 + b"{}", "a header of 70,002 bytes is invalid"),
    ],
)
def test_an_invalid_safetensors_header_is_rejected_before_tensors_are_created(
    change: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.saved.payload_files.deserialize_tensors", None)
    assert said in refusal(with_header(PEFT, change))


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", struct.pack("<Q", 2**63) + b"{}", b"\x00" * 8, b"\xff" * 400])
def test_invalid_safetensors_files_are_rejected(content: bytes) -> None:
    assert "is not a safetensors file" in refusal(forged(PEFT, content))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_virtual_tokens": 10**6}, "leave no space for text"),
        ({"payload": "prefix"}, "the shape"),
        ({"placement": "in-template"}, "peft cannot express"),
        ({"placement": "after-text"}, "peft cannot express"),
        ({"method": {"name": "\x1b[2J"}}, "method.name"),
        ({"method": {"name": "a" * 1000}}, "method.name"),
        ({"metrics": {"a": "\ud800"}}, "surrogates not allowed"),
        ({"method": json.loads("[" * 400 + "]" * 400)}, "is damaged"),
        ({"metrics": {"a": json.loads("[" * 400 + "]" * 400)}}, "nested too deeply"),
        ({"task": {"kind": "generation", "template": "{input}" + "[P1-999999999]" * 9}}, "more than 100,000 markers"),
        ({"task": {"kind": "generation", "template": "{input}[P0]"}}, "number the markers from \\[P1\\]"),
        ({"task": {"kind": "generation", "template": "{input.__class__}"}}, "not a plain field name"),
        ({"task": {"kind": "classification", "labels": []}}, "label"),
        ({"task": {"kind": "chat"}}, "no chat template"),
    ],
)
def test_forged_manifests_are_rejected(fields: dict[str, Any], said: str) -> None:
    assert said.replace("\\", "") in refusal(forged(PEFT, **fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"placement": "in-template"}, "0 virtual-token markers, but the prompt has 3"),
        ({"placement": "before", "has_bos": True, "num_virtual_tokens": 2}, "has_bos is true for embeddings"),
    ],
)
def test_unsupported_placements_are_rejected(fields: dict[str, Any], said: str) -> None:
    files = make(random_embeddings(MODEL, 3, seed=0, placement=Placement.AFTER_TEXT)).files
    assert said in refusal(forged(files, **fields))


def test_code_of_a_template_language_remains_literal_text() -> None:
    """Braces name fields, and nothing else."""
    template = "{{{{ 7 * 7 }}}} {{% for x in y %}} {input}"
    saved = UPLOADS.parse_prompt(forged(PEFT, task={"kind": "generation", "template": template}))
    row = saved.build_objective(MODEL, saved.payload).encode_prompt(
        saved.build_objective(MODEL, None).build_example("fun"), 1
    )  # type: ignore[attr-defined]
    assert "{{ 7 * 7 }}" in MODEL.tokenizer.decode([token for token in row.prompt_ids if token >= 0])


@KINDS
@given(data=st.data())
@settings(max_examples=60)
def test_an_upload_with_changed_bytes_is_rejected_or_a_valid_prompt(
    files: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["change", "cut", "insert"])):
        case "change":
            content[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[at:]
        case _:
            content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    changed = {**files, name: bytes(content)}
    if data.draw(st.booleans()) and name != "softprompt.json":
        changed = forged(changed, changed[tensors_of(files)])
    check(changed)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["prefix", "chat"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
fields = ["method", "payload", "num_virtual_tokens", "placement", "has_bos", "base", "task", "metrics", "versions"]
TASKS = [
    {"kind": kind, "template": template, **more}
    for kind in ("classification", "generation", "token-classification", "extraction")
    for template in ("{text}", "", "[MASK] {a}", "{messages}", "\x00{text}", "{text} {text}")
    for more in ({}, {"labels": ["good", "bad"]}, {"labels": ["", " "]}, {"labels": ["a", "a"], "words": {"a": ""}})
]


@given(change=st.dictionaries(st.sampled_from(fields), values, max_size=2), task=st.none() | st.sampled_from(TASKS))
@settings(max_examples=80)
def test_a_forged_manifest_is_rejected_or_a_valid_prompt(change: dict[str, Any], task: dict[str, Any] | None) -> None:
    check(forged(PEFT, **{**change, **({} if task is None else {"task": task})}))


@given(header=st.dictionaries(st.sampled_from(["prompt_embeddings", "head.bias", "x", "__metadata__"]), values))
def test_a_forged_tensor_header_is_rejected_or_a_valid_prompt(header: dict[str, Any]) -> None:
    check(with_header(PEFT, header))


def check(files: dict[str, bytes]) -> None:
    """It is refused, or a prompt that can be written and read again."""
    try:
        saved = UPLOADS.parse_prompt(files)
    except (SoftPromptError, InvalidRequest) as error:
        str(error).encode()
    else:
        again = SavedPrompt.from_manifest(
            Manifest.from_bytes(saved.files["softprompt.json"], UPLOAD_PATH),
            {name: each for name, each in saved.files.items() if name != "softprompt.json"},
            UPLOAD_PATH,
        )
        assert again.manifest == saved.manifest


def test_nan_values_are_rejected() -> None:
    name = tensors_of(PEFT)
    nan = PEFT[name][:-4] + struct.pack("<f", float("nan"))
    with pytest.raises(CorruptPrompt, match="NaN"):
        UPLOADS.parse_prompt(forged(PEFT, nan))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"l{i}" for i in range(41)], "the prompt has 41 labels: use at most 40"),
        (["a" * 300, "b" * 301], "601 characters in its labels and verbalizer words: use at most 600"),
    ],
)
def test_too_many_labels_are_rejected(labels: list[str], said: str) -> None:
    task = {"kind": "classification", "template": "{text}", "labels": labels, "words": {}, "label_field": "label"}
    uploads = UploadValidator(MODEL, UploadLimits(max_labels=40, max_label_characters=600))
    with pytest.raises(UploadTooLarge, match=said) as raised:
        uploads.parse_prompt(forged(PEFT, task=task))
    error = to_api_error(raised.value)
    assert (error.status, error.code, error.param) == (413, "too_large", "file")


def test_a_single_label_is_rejected() -> None:
    task = {"kind": "classification", "template": "{text}", "labels": ["a"], "words": {}, "label_field": "label"}
    assert "only one label" in refusal(forged(PEFT, task=task))
