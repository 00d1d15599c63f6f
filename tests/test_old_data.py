"""Data written before the names changed can still be read: saved prompts, a registry, a report, settings of a run.

`old_data/` holds files that version 0.1.0 wrote, and the results that it computed.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison.report import load_report, recommend_method, write_report
from softprompt.evaluation import SamplingParams, classify, extract, respond, tag
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.tiny import shared_model

OLD_DATA = Path(__file__).parent / "old_data"
EXPECTED: dict[str, dict[str, Any]] = json.loads((OLD_DATA / "prompts" / "expected.json").read_text("utf-8"))
TEXTS = ["great fun", "a bore"]


@pytest.mark.parametrize("name", EXPECTED)
def test_old_saved_prompts_give_the_same_results(name: str) -> None:
    model = shared_model("bert" if name in ("masked_classification", "extraction") else "llama")
    prompt, expected = SavedPrompt.from_folder(OLD_DATA / "prompts" / name), EXPECTED[name]
    if "probabilities" in expected:
        probabilities = [prediction.probabilities for prediction in classify(model, prompt, TEXTS)]
        for new, old in zip(probabilities, expected["probabilities"], strict=True):
            assert new == pytest.approx(old, abs=1e-4)
    elif "response" in expected:
        assert "".join(respond(model, prompt, "the film", SamplingParams(max_new_tokens=8))) == expected["response"]
    elif "tags" in expected:
        assert list(tag(model, prompt, ["great", "fun"]).tags) == expected["tags"]
    else:
        answer = extract(model, prompt, "what was fun?", "the film was great fun")
        assert answer.answer == expected["answer"]["answer"]


def test_an_old_registry_can_be_read_and_written(tmp_path: Path) -> None:
    shutil.copytree(OLD_DATA / "store", tmp_path / "store")
    expected = json.loads((OLD_DATA / "store_expected.json").read_text("utf-8"))
    with PromptRegistry.open(tmp_path / "store") as registry:
        for reference, (number, content) in expected["versions"].items():
            version = registry.resolve_version(reference, tenant="other" if reference == "answers" else "acme")
            assert (version.number, version.digest) == (number, content)
            assert registry.load_prompt(version).manifest.content_hash == f"sha256:{content}"
        assert [[event.action, event.actor] for event in registry.list_events("acme", "reviews")] == expected["history"]
        key = registry.api_keys.authenticate_secret(expected["secret"])
        assert key is not None
        assert (key.id, key.tenant) == (expected["key"], "acme")
        added = registry.register_prompt(OLD_DATA / "prompts" / "embeddings_classification", "reviews", tenant="acme")
        assert added.number == 3


def test_an_old_report_can_be_read(tmp_path: Path) -> None:
    report = json.loads((OLD_DATA / "comparison" / "report.json").read_text("utf-8"))
    loaded = load_report(OLD_DATA / "comparison" / "report.json")
    old, new = report["recommendation"], recommend_method(loaded)
    assert new.method == loaded.recommendation.method == old["way"]
    assert _numbers_of(new.summary) == _numbers_of(old["words"])
    assert _numbers_of(*new.reasons) == _numbers_of(*old["reasons"])
    assert len(new.caveats) == len(old["changes"])
    write_report(loaded, tmp_path)
    written = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert written["format_version"] == 2
    assert written["methods"]["hard"]["metrics"]["accuracy"]["mean"] == report["ways"]["hard"]["accuracy"]["mean"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert report["recommendation"]["words"][:40] in page.replace("&#39;", "'")


def _numbers_of(*sentences: str) -> list[str]:
    return re.findall(r"\d[\d.,]*\d|\d", " ".join(sentences))
