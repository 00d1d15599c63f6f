"""What was written before the names of everything changed is read: saved prompts, a store, a report, a run's settings.

`old_data/` holds it, as version 0.1.0 wrote it, and what was told of it then.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison.report import recommend
from softprompt.comparison.report.page import write_report
from softprompt.evaluation import Sampling, classify, extract, respond, tag
from softprompt.saved import SavedPrompt
from softprompt.store import Store
from tests.tiny import shared_model

OLD = Path(__file__).parent / "old_data"
EXPECTED: dict[str, dict[str, Any]] = json.loads((OLD / "prompts" / "expected.json").read_text("utf-8"))
TEXTS = ["great fun", "a bore"]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_saved_prompt_written_before_gives_the_same_results(name: str) -> None:
    model = shared_model("bert" if name in ("masked_classification", "extraction") else "llama")
    prompt, expected = SavedPrompt.read(OLD / "prompts" / name), EXPECTED[name]
    if "probabilities" in expected:
        found = [prediction.probabilities for prediction in classify(model, prompt, TEXTS)]
        for now, before in zip(found, expected["probabilities"], strict=True):
            assert now == pytest.approx(before, abs=1e-4)
    elif "response" in expected:
        assert "".join(respond(model, prompt, "the film", Sampling(max_new_tokens=8))) == expected["response"]
    elif "tags" in expected:
        assert list(tag(model, prompt, ["great", "fun"]).tags) == expected["tags"]
    else:
        answer = extract(model, prompt, "what was fun?", "the film was great fun")
        assert answer.answer == expected["answer"]["answer"]


def test_a_store_written_before_is_read_and_written_to(tmp_path: Path) -> None:
    shutil.copytree(OLD / "store", tmp_path / "store")
    expected = json.loads((OLD / "store_expected.json").read_text("utf-8"))
    with Store.open(tmp_path / "store") as store:
        for reference, (number, content) in expected["versions"].items():
            version = store.resolve(reference, tenant="other" if reference == "answers" else "acme")
            assert (version.number, version.content) == (number, content)
            assert store.read(version).manifest.content_hash == f"sha256:{content}"
        assert [[event.what, event.by] for event in store.history("acme", "reviews")] == expected["history"]
        key = store.keys.find(expected["secret"])
        assert key is not None
        assert (key.id, key.tenant) == (expected["key"], "acme")
        added = store.add(OLD / "prompts" / "embeddings_classification", "reviews", tenant="acme")
        assert added.number == 3


def test_a_report_written_before_is_read(tmp_path: Path) -> None:
    report = json.loads((OLD / "comparison" / "report.json").read_text("utf-8"))
    assert recommend(report) == report["recommendation"]
    write_report(report, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert report["recommendation"]["words"][:40] in page.replace("&#39;", "'")
