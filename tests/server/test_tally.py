"""What is counted of each prompt for the page."""

from __future__ import annotations

from softprompt.server.tally import Tally, Use
from tests.server.running import BASE, Running


def test_it_adds_up_for_each_tenant_alone() -> None:
    tally = Tally()
    use = tally.of("acme", "reviews@1")
    use.first_token(0.25)
    use.first_token(0.75)
    use.request(5, 7)
    tally.of("acme", "reviews@1").request(3)
    assert tally.used("acme") == {"reviews@1": Use(requests=2, read=8, written=7, begun=2, waited=1.0)}
    assert tally.used("other") == {}


def test_it_forgets_what_was_asked_for_longest_ago() -> None:
    tally = Tally(remembered=2)
    for name in ("a@1", "b@1", "a@1", "c@1"):
        tally.of("acme", name).request(1)
    assert list(tally.used("acme")) == ["a@1", "c@1"]


def test_the_server_counts(served: Running) -> None:
    def used(model: str) -> dict[str, float]:
        found: dict[str, float] = served.get("/page/state").json()["used"].get(model, {})
        return {"requests": 0, "read": 0, "written": 0, **{key: value for key, value in found.items() if value}}

    def more(model: str, path: str, body: dict[str, object]) -> tuple[float, ...]:
        before = used(model)
        assert served.post(path, body).status_code == 200
        return tuple(used(model)[each] - before[each] for each in ("requests", "read", "written"))

    written = {"prompt": "a song", "max_tokens": 5, "ignore_eos": True}
    answer = served.post("/v1/completions", {"model": BASE, **written}).json()["usage"]
    assert more(BASE, "/v1/completions", {"model": BASE, **written}) == (1, answer["prompt_tokens"], 5)
    assert used(BASE)["first_token"] > 0
    assert more("answers@1", "/v1/completions", {"model": "answers", **written, "stream": True})[::2] == (1, 5)
    read = served.post("/v1/classify", {"model": "reviews", "input": "a song"}).json()["usage"]["prompt_tokens"]
    assert more("reviews@1", "/v1/classify", {"model": "reviews", "input": "a song"}) == (1, read, 0)
    assert served.post("/v1/completions", {"model": "foreign", **written}).status_code == 400
    assert used("foreign@1")["requests"] == 0
