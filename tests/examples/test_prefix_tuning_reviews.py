"""The prefix tuning tutorial on the real model generates a review without repeated phrases.

The usual code responds "a the the the" to "This restaurant was absolutely amazing!". The script
`examples/prefix_tuning_reviews.py` runs unchanged, on fewer reviews and steps, so that the test takes about a minute.
"""

from __future__ import annotations

import runpy
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.data import Example, read_examples
from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.model import FrozenModel
from softprompt.tasks import ResponseTarget
from softprompt.tasks.metrics.text_metrics import has_repeated_ngram
from tests.examples.conftest import ROOT

DATA = ROOT.parent / "shared" / "data"
SMALLER = {"DATA": "reviews.jsonl", "TEST_SIZE": 8, "STEPS": 24}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script defines, with the first reviews for its data."""
    if not DATA.is_dir():
        pytest.skip("the reviews do not come with the repository: they lie beside it, in ../shared/data")
    with (DATA / "movie_reviews.train.jsonl").open(encoding="utf-8") as file:
        (tmp_path / "reviews.jsonl").write_text("".join(islice(file, 500)), "utf-8")
    monkeypatch.chdir(tmp_path)
    defined = runpy.run_path(str(ROOT / "examples" / "prefix_tuning_reviews.py"))
    defined["main"].__globals__.update(SMALLER)
    return defined


@pytest.mark.real
def test_the_prefix_tuning_tutorial_generates_a_review_without_repeated_phrases(
    script: dict[str, Any], smollm2: FrozenModel
) -> None:
    script["main"]()
    prompt = softprompt.SavedPrompt.from_folder("runs/prefix_tuning_reviews/prompt")

    sampling = softprompt.SamplingParams(max_new_tokens=60)
    text = "".join(softprompt.respond(smollm2, prompt, "This restaurant was absolutely amazing!", sampling))
    words = text.lower().split()
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    assert len(words) > 3, "an empty answer has no loop either"
    assert max(threes.values()) < 3, text  # stricter than no loop: nowhere, and however far apart
    assert not has_repeated_ngram(text), text

    unseen = script["split_first_sentences"](read_examples(DATA / "movie_reviews.test.jsonl")[:20])
    payload = prompt.compile_for(smollm2)
    objective, bare = prompt.build_objective(smollm2, payload), prompt.build_objective(smollm2, None)
    rows = [objective.encode_example(Example(row)) for row in unseen]
    unended = [
        replace(row, supervision=ResponseTarget.from_tokens(row.response_ids[:-1])) for row in rows
    ]  # it learnt more than where a review ends
    for some in (rows, unended):
        with_prefix, without = (
            compute_metrics(objective, payload, some)["perplexity"],
            compute_metrics(bare, None, some)["perplexity"],
        )
        assert with_prefix < without
