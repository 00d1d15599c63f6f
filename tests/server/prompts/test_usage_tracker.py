"""The usage of each prompt, as the playground shows it."""

from __future__ import annotations

from softprompt.server.prompts.usage_tracker import UsageTracker, VersionUsage
from tests.server.live_server import BASE, Running


def test_usage_is_counted_per_tenant_and_version() -> None:
    tally = UsageTracker()
    use = tally.get_usage("acme", "reviews@1")
    use.record_first_token(0.25)
    use.record_first_token(0.75)
    use.record_request(5, 7)
    tally.get_usage("acme", "reviews@1").record_request(3)
    assert tally.list_usages("acme") == {
        "reviews@1": VersionUsage(num_requests=2, prompt_tokens=8, completion_tokens=7, ttft_count=2, ttft_seconds=1.0)
    }
    assert tally.list_usages("other") == {}


def test_the_least_recently_used_version_is_dropped() -> None:
    tally = UsageTracker(max_versions=2)
    for name in ("a@1", "b@1", "a@1", "c@1"):
        tally.get_usage("acme", name).record_request(1)
    assert list(tally.list_usages("acme")) == ["a@1", "c@1"]


def test_the_server_records_the_usage_of_completions_and_classifications(served: Running) -> None:
    def used(model: str) -> dict[str, float]:
        found: dict[str, float] = served.get("/playground/state").json()["usage"].get(model, {})
        return {
            "num_requests": 0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            **{key: value for key, value in found.items() if value},
        }

    def more(model: str, path: str, body: dict[str, object]) -> tuple[float, ...]:
        before = used(model)
        assert served.post(path, body).status_code == 200
        return tuple(
            used(model)[each] - before[each] for each in ("num_requests", "prompt_tokens", "completion_tokens")
        )

    written = {"prompt": "a song", "max_tokens": 5, "ignore_eos": True}
    answer = served.post("/v1/completions", {"model": BASE, **written}).json()["usage"]
    assert more(BASE, "/v1/completions", {"model": BASE, **written}) == (1, answer["prompt_tokens"], 5)
    assert used(BASE)["mean_ttft_seconds"] > 0
    assert more("answers@1", "/v1/completions", {"model": "answers", **written, "stream": True})[::2] == (1, 5)
    read = served.post("/v1/classify", {"model": "reviews", "input": "a song"}).json()["usage"]["prompt_tokens"]
    assert more("reviews@1", "/v1/classify", {"model": "reviews", "input": "a song"}) == (1, read, 0)
    assert served.post("/v1/completions", {"model": "foreign", **written}).status_code == 400
    assert used("foreign@1")["num_requests"] == 0
