"""An API in a whole comparison: the others are measured, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import run as compare_as
from tests.comparison.conftest import Settings, written
from tests.comparison.ways.api.fake import FakeApi, Fault

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("always", "keys", "words"),
    [
        (None, (), "refused the key"),
        (Fault(429, headers={"Retry-After": "3600"}), None, "answers 429 to every try"),
        (Fault(200, "<html>Hello</html>"), None, "no chat completion"),
    ],
    ids=["key", "429", "rubbish"],
)
def test_one_that_fails_is_marked_and_the_others_finish(
    always: Fault | None, keys: tuple[str, ...] | None, words: str, api: FakeApi, settings: Settings
) -> None:
    api.always, api.keys = always, keys
    report = compare_as(settings(ways=("api:tiny", "hard"), base_url=api.url))
    assert words in report["ways"]["api:tiny"]["error"]
    assert report["ways"]["hard"]["accuracy"]["mean"] >= 0
    assert report["recommendation"]["way"] == "hard"
    assert any("API" in change and "failed" in change for change in report["recommendation"]["changes"])


def test_of_written_responses_it_is_asked_for_fifty_and_measured_by_bleu(
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
    given = settings(**files, template="{input} is", ways=("hard", "api:tiny"), base_url=api.url)
    report = compare_as(given)
    asked = report["ways"]["api:tiny"]
    assert "error" not in asked
    assert asked["bleu"]["mean"] == pytest.approx(100)
    assert len(api.requests) == asked["calls"]["requests"] == 50
    assert report["metric"] == "perplexity"
    page = (given.output / "report.html").read_text("utf-8")
    assert "Measured otherwise" in page
    assert "BLEU 100" in page or "bleu 100" in page
