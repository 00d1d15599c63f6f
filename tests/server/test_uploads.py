"""Uploads: what a client brings is a prompt for this model, or it is refused, whatever the bytes."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softprompt.errors import DamagedPrompt, NotASavedPrompt, SoftPromptError, WrongBaseModel
from softprompt.model import Placement
from softprompt.saved import Manifest, SavedPrompt
from softprompt.saved.tensors import sha256
from softprompt.server.refusal import Refusal
from softprompt.server.uploads import WHERE, UploadLimits, Uploads
from tests.saved.making import make, random_head
from tests.strategies import random_embeddings
from tests.tiny import shared_model, tiny_model

MODEL = shared_model("llama")
UPLOADS = Uploads(MODEL)
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
    manifest = {**json.loads(files["softprompt.json"]), "tensors_sha256": sha256(tensors), **fields}
    manifest["content_hash"] = ""
    with suppress(ValueError, RecursionError):  # then it is refused for another reason
        manifest["content_hash"] = Manifest.model_validate(manifest).sealed().content_hash
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
    with pytest.raises((SoftPromptError, Refusal)) as raised:
        UPLOADS.read(files)
    return str(raised.value)


@KINDS
def test_a_prompt_is_read(files: dict[str, bytes]) -> None:
    saved = UPLOADS.read(files)
    assert saved.files == files
    assert UPLOADS.read(forged(files)).manifest == saved.manifest


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
def test_other_files_are_refused(names: list[str]) -> None:
    with pytest.raises(NotASavedPrompt, match="a saved prompt is softprompt.json with"):
        UPLOADS.read(dict.fromkeys(names, b""))


def test_what_is_too_large_is_not_read() -> None:
    uploads = Uploads(MODEL, UploadLimits(total=1000, manifest=10))
    with pytest.raises(Refusal) as raised:
        uploads.check_files({"softprompt.json": 11, "prompt.safetensors": 1})
    assert (raised.value.status, raised.value.code) == (413, "too_large")
    with pytest.raises(Refusal):
        uploads.check_files({"softprompt.json": 1, "prompt.safetensors": 1001})


def test_another_model_is_named_without_its_place() -> None:
    other = tiny_model("llama", seed=5)
    with pytest.raises(WrongBaseModel, match="this server has tiny-llama-0"):
        UPLOADS.read(make(model=other, payload=random_embeddings(other, 3, seed=0)).files)


def entry(**changes: Any) -> Any:
    return lambda header: {**header, "prompt_embeddings": {**header["prompt_embeddings"], **changes}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (entry(dtype="I64"), "of the type F64"),
        (entry(dtype=["F32"]), "of the type F64"),
        (entry(shape=[3, 25]), "of the shape"),
        (entry(shape=[72]), "of the shape"),
        (entry(shape=[3.0, 24]), "of the shape"),
        (entry(shape=[2**62, 2**62]), "of the shape"),
        (entry(data_offsets=[0, 287]), "as many numbers"),
        (entry(data_offsets=[4, 292]), "overlap, leave a gap, or end elsewhere"),
        (entry(data_offsets=[-4, 284]), "two data_offsets"),
        (entry(data_offsets=[0]), "two data_offsets"),
        (entry(more=1), "nothing else"),
        (lambda header: {**header, "code": header["prompt_embeddings"]}, "nothing else"),
        (lambda header: {}, "must hold prompt_embeddings"),
        (b"[]", "no JSON object"),
        (b"{]", "no JSON"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 60_000, "no JSON"),
        (b" " * 70_000 + b"{}", "70,002 bytes long"),
    ],
)
def test_a_header_is_checked_before_tensors_are_made(change: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softprompt.saved.saved_prompt.parse_tensors", None)
    assert said in refusal(with_header(PEFT, change))


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", struct.pack("<Q", 2**63) + b"{}", b"\x00" * 8, b"\xff" * 400])
def test_what_is_no_safetensors_file(content: bytes) -> None:
    assert "is no safetensors file" in refusal(forged(PEFT, content))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_virtual_tokens": 10**6}, "leave no room for text"),
        ({"payload": "prefix"}, "of the shape"),
        ({"placement": "in-template"}, "peft cannot express"),
        ({"placement": "after-text"}, "peft cannot express"),
        ({"method": {"name": "\x1b[2J"}}, "method.name"),
        ({"method": {"name": "a" * 1000}}, "method.name"),
        ({"metrics": {"a": "\ud800"}}, "surrogates not allowed"),
        ({"method": json.loads("[" * 400 + "]" * 400)}, "is damaged"),
        ({"metrics": {"a": json.loads("[" * 400 + "]" * 400)}}, "nested too deep"),
        ({"task": {"kind": "generation", "template": "{input}" + "[P1-999999999]" * 9}}, "more than 100,000 markers"),
        ({"task": {"kind": "generation", "template": "{input}[P0]"}}, "count from \\[P1\\]"),
        ({"task": {"kind": "generation", "template": "{input.__class__}"}}, "no plain field name"),
        ({"task": {"kind": "classification", "labels": []}}, "label"),
        ({"task": {"kind": "chat"}}, "no chat template"),
    ],
)
def test_what_a_forged_manifest_says(fields: dict[str, Any], said: str) -> None:
    assert said.replace("\\", "") in refusal(forged(PEFT, **fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"placement": "in-template"}, "0 markers for virtual tokens, and 3 stand in it"),
        ({"placement": "before", "has_bos": True, "num_virtual_tokens": 2}, "BOS token within embeddings before"),
    ],
)
def test_a_place_that_cannot_be(fields: dict[str, Any], said: str) -> None:
    files = make(random_embeddings(MODEL, 3, seed=0, placement=Placement.AFTER_TEXT)).files
    assert said in refusal(forged(files, **fields))


def test_a_template_language_is_text() -> None:
    """What would be code in one is a literal here: braces name fields, and nothing else."""
    template = "{{{{ 7 * 7 }}}} {{% for x in y %}} {input}"
    saved = UPLOADS.read(forged(PEFT, task={"kind": "generation", "template": template}))
    row = saved.objective(MODEL, saved.payload).encode_prompt(saved.objective(MODEL, None).asked("fun"), 1)  # type: ignore[attr-defined]
    assert "{{ 7 * 7 }}" in MODEL.tokenizer.decode([token for token in row.prompt if token >= 0])


@KINDS
@given(data=st.data())
@settings(max_examples=60)
def test_any_change_of_any_byte_is_seen(files: dict[str, bytes], data: st.DataObject) -> None:
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
def test_a_forgery_is_refused_or_a_prompt(change: dict[str, Any], task: dict[str, Any] | None) -> None:
    check(forged(PEFT, **change, **({} if task is None else {"task": task})))


@given(header=st.dictionaries(st.sampled_from(["prompt_embeddings", "head.bias", "x", "__metadata__"]), values))
def test_a_forged_header_is_refused(header: dict[str, Any]) -> None:
    check(with_header(PEFT, header))


def check(files: dict[str, bytes]) -> None:
    """It is refused, or a prompt that can be written and read again."""
    try:
        saved = UPLOADS.read(files)
    except (SoftPromptError, Refusal) as error:
        str(error).encode()
    else:
        again = SavedPrompt.parse(
            Manifest.parse(saved.files["softprompt.json"], WHERE),
            {name: each for name, each in saved.files.items() if name != "softprompt.json"},
            WHERE,
        )
        assert again.manifest == saved.manifest


def test_numbers_that_are_none_are_refused() -> None:
    name = tensors_of(PEFT)
    nan = PEFT[name][:-4] + struct.pack("<f", float("nan"))
    with pytest.raises(DamagedPrompt, match="NaN"):
        UPLOADS.read(forged(PEFT, nan))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([f"l{i}" for i in range(41)], "the prompt has 41 labels, and 40 is the most"),
        (["a" * 300, "b" * 301], "601 characters in its labels and verbalizer words, and 600 is the most"),
    ],
)
def test_more_labels_than_a_server_takes_on_are_refused(labels: list[str], said: str) -> None:
    task = {"kind": "classification", "template": "{text}", "labels": labels, "words": {}, "label_field": "label"}
    uploads = Uploads(MODEL, UploadLimits(labels=40, label_characters=600))
    with pytest.raises(Refusal, match=said) as raised:
        uploads.read(forged(PEFT, task=task))
    assert (raised.value.status, raised.value.code) == (413, "too_large")


def test_one_label_is_refused() -> None:
    task = {"kind": "classification", "template": "{text}", "labels": ["a"], "words": {}, "label_field": "label"}
    assert "one label leaves nothing to choose from" in refusal(forged(PEFT, task=task))
