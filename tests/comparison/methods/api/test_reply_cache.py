"""The cache of API replies: no reply is requested twice, even if the process that requested it was killed."""

from __future__ import annotations

from pathlib import Path

from softprompt.model_api.request_limits import RequestLimits
from tests.comparison.methods.api.api_harness import MANY, ROWS, Asked
from tests.model_api.fake_openai import KEY, FakeApi, Fault


def test_only_missing_replies_are_requested_after_a_failure(api: FakeApi, asked: Asked) -> None:
    def failing_late(_: object) -> str:
        if len(api.requests) == 20:
            api.always = Fault(400)
        return "good"

    api.reply = failing_late
    asked.fails("rejected a request", MANY, limits=RequestLimits(max_concurrency=1))
    assert len(api.requests) == 21
    api.always = None
    fitted, experiment = asked.fitted(MANY)
    assert fitted.evaluate(experiment.test).scores == [1.0] * len(MANY)
    assert len(api.requests) == 21 + len(MANY) - 20
    assert fitted.api_usage.requests == len(MANY)
    assert fitted.api_usage.prompt_tokens == 10 * len(MANY)


def test_replies_of_another_model_or_text_are_requested(api: FakeApi, asked: Asked) -> None:
    asked.measured(ROWS)
    asked.measured(ROWS, argument="larger")
    asked.measured(ROWS + MANY[:1])
    asked.measured(ROWS)
    assert len(api.requests) == 2 * len(ROWS) + 1


def test_a_reply_in_a_truncated_line_is_requested_again(api: FakeApi, asked: Asked) -> None:
    asked.measured(ROWS)
    (file,) = written(asked)
    file.write_text(file.read_text("utf-8")[:-20], "utf-8")
    asked.measured(ROWS)
    assert len(api.requests) == len(ROWS) + 1
    asked.measured(ROWS)
    assert len(api.requests) == len(ROWS) + 1


def test_the_cache_contains_neither_the_api_key_nor_the_request(api: FakeApi, asked: Asked) -> None:
    api.reply = lambda _: f"good, says {KEY}"
    asked.measured(ROWS)
    (file,) = written(asked)
    text = file.read_text("utf-8")
    assert "good, says …" in text or "good, says \\u2026" in text
    assert KEY not in text
    assert "great fun" not in text


def written(asked: Asked) -> list[Path]:
    _, experiment = asked.fitted()
    return sorted((experiment.settings.output / "answers").glob("*.jsonl"))
