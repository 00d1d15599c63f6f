"""An API method in a whole comparison: the other methods are measured even if it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import run_comparison as compare_as
from tests.comparison.conftest import Settings, written
from tests.model_api.fake_openai import FakeApi, Fault

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("always", "keys", "words"),
    [
        (None, (), "rejected the API key"),
        (Fault(429, headers={"Retry-After": "3600"}), None, "responded with 429 to every attempt"),
        (Fault(200, "<html>Hello</html>"), None, "not a chat completion"),
    ],
    ids=["key", "429", "rubbish"],
)
def test_a_failing_api_method_is_reported_and_the_other_methods_finish(
    always: Fault | None, keys: tuple[str, ...] | None, words: str, api: FakeApi, settings: Settings
) -> None:
    api.always, api.keys = always, keys
    report = compare_as(settings(methods=("api:tiny", "hard"), base_url=api.url))
    assert words in report.methods["api:tiny"].error
    assert report.results["hard"].metrics["accuracy"].mean >= 0
    assert report.recommendation.method == "hard"
    assert any("API" in change and "failed" in change for change in report.recommendation.caveats)


def test_an_api_is_measured_on_generation_by_the_bleu_of_fifty_responses(
    api: FakeApi, settings: Settings, tmp_path: Path
) -> None:
    def rows(split: str, count: int) -> list[dict[str, Any]]:
        return [
            {"input": f"{split} {number}", "output": f"that is what number {number} says"} for number in range(count)
        ]

    files = {
        name: written(tmp_path / f"{name}-rows.jsonl", rows(name, count))
        for name, count in (("data", 8), ("validation", 4), ("test", 55))
    }
    api.reply = lambda messages: f"that is what number {messages[-1]['content'].split()[1]} says"
    given = settings(**files, template="{input} is", methods=("hard", "api:tiny"), base_url=api.url)
    report = compare_as(given)
    asked = report.results["api:tiny"]
    assert asked.metrics["bleu"].mean == pytest.approx(100)
    assert len(api.requests) == asked.api_usage.num_requests == 50
    assert report.headline_metric == "perplexity"
    page = (given.output / "report.html").read_text("utf-8")
    assert "Not comparable" in page
    assert "BLEU 100" in page or "bleu 100" in page
