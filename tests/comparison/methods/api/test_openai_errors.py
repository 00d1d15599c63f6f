"""A fake API that rejects requests, hangs or sends invalid replies, and how the client retries."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

import pytest

from softprompt.comparison.methods.fitted_model import EvalResult
from softprompt.errors import ModelApiError
from softprompt.model_api.request_limits import RequestLimits
from tests.comparison.methods.api.api_harness import MANY, ROWS, SAID, Asked
from tests.model_api.fake_openai import KEY, FakeApi, Fault, Messages


class TestFailedRequests:
    def test_a_rejected_key_is_reported_without_the_key(
        self, api: FakeApi, asked: Asked, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.keys = ()
        with caplog.at_level(logging.DEBUG):
            asked.fails(
                r"127\.0\.0\.1:\d+/v1 rejected the API key, or its access to tiny \(401\): check OPENAI_API_KEY"
            )
        assert KEY not in caplog.text

    def test_successful_requests_do_not_log_or_return_the_key(
        self, asked: Asked, caplog: pytest.LogCaptureFixture
    ) -> None:
        fitted, experiment = asked.fitted()
        with caplog.at_level(logging.DEBUG):
            found = fitted.evaluate(experiment.test)
        assert KEY not in f"{caplog.text}{found}{fitted!r}{fitted.api_usage}{fitted.client!r}{fitted.client.endpoint!r}"  # type: ignore[attr-defined]

    def test_a_key_in_the_error_message_of_the_server_is_redacted(self, api: FakeApi, asked: Asked) -> None:
        api.always = Fault(400, {"error": {"message": f"no model\x1b[31m for\n {KEY}"}})
        asked.fails(r"rejected a request for tiny with 400 \(no model\[31m for …\): fix the cause")

    def test_a_request_with_a_rejected_key_is_not_retried(self, api: FakeApi, asked: Asked) -> None:
        api.keys = ()
        asked.fails("rejected the API key", limits=RequestLimits(max_concurrency=1))
        assert len(api.requests) == 1

    def test_a_missing_key_is_reported_if_the_server_requires_one(
        self, asked: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        asked.fails(r"requires an API key \(401\): set OPENAI_API_KEY")

    def test_a_server_without_keys_is_used_without_a_key(
        self, api: FakeApi, asked: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        api.keys = None
        assert asked.measured(ROWS[:1]).scores == [1.0]

    def test_a_url_that_is_not_an_api_is_reported(self, api: FakeApi, asked: Asked) -> None:
        asked.fails(
            r"has no model tiny, or is not such an API \(Unknown path /chat/completions\): check its name",
            base_url=api.url.removesuffix("/v1"),
        )

    def test_status_429_is_retried(self, api: FakeApi, asked: Asked) -> None:
        api.faults = [Fault(429), Fault(429)]
        fitted, experiment = asked.fitted()
        assert fitted.evaluate(experiment.test).scores == [1.0, 0.0, 1.0, 0.0]
        calls = fitted.api_usage
        assert (calls.requests, calls.retries, len(api.requests)) == (4, 2, 6)

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_permanent_failure_is_raised_after_the_last_attempt(
        self, api: FakeApi, asked: Asked, status: int
    ) -> None:
        api.always = Fault(status, {"error": {"message": "Too much going on."}})
        asked.fails(
            rf"responded with {status} to every attempt \(Too much going on\)",
            limits=RequestLimits(max_attempts=5, max_concurrency=1),
        )
        assert len(api.requests) == 5

    def test_a_request_with_a_long_retry_after_header_is_not_retried(self, api: FakeApi, asked: Asked) -> None:
        api.always = Fault(429, headers={"Retry-After": "3600"})
        asked.fails("429", limits=RequestLimits(max_concurrency=1))
        assert len(api.requests) == 1

    def test_the_first_permanent_failure_cancels_the_other_requests(self, api: FakeApi, asked: Asked) -> None:
        api.faults = [Fault(400)]
        api.delay = 0.02
        asked.fails("400", MANY, limits=RequestLimits(max_concurrency=4))
        assert len(api.requests) <= 8

    def test_replies_before_a_failure_are_not_requested_again(self, api: FakeApi, asked: Asked) -> None:
        fitted, experiment = asked.fitted(limits=RequestLimits(max_concurrency=1))
        api.faults = [Fault(500), Fault(400)]
        with pytest.raises(ModelApiError):
            fitted.evaluate(experiment.test)
        fitted.evaluate(experiment.test)
        assert len(set(api.users_words)) == 4
        assert len(api.requests) == 6

    def test_a_server_that_does_not_respond_raises_a_timeout_error(self, api: FakeApi, asked: Asked) -> None:
        api.delay = 0.5
        asked.fails("timed out in every attempt", ROWS[:1], limits=RequestLimits(max_attempts=1, timeout=0.1))

    def test_a_request_that_timed_out_is_retried(self, api: FakeApi, asked: Asked) -> None:
        api.delay = 0.3
        asked.fails("timed out in every attempt", ROWS[:1], limits=RequestLimits(max_attempts=2, timeout=0.1))
        assert len(api.requests) == 2

    def test_an_unreachable_endpoint_raises_an_error(self, asked: Asked) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, but not listening
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
            asked.fails(
                "cannot be reached, or closed the connection .+: check `base_url`",
                limits=RequestLimits(max_attempts=1),
                base_url=url,
            )

    @pytest.mark.parametrize(
        "body", ["<html>Hello</html>", "", "{", "[]", "{}", {"choices": []}, {"choices": [{"text": "good"}]}]
    )
    def test_responses_that_are_not_chat_completions_are_reported(self, api: FakeApi, asked: Asked, body: Any) -> None:
        api.always = Fault(200, body)
        asked.fails("returned something that is not a chat completion")

    def test_the_error_quotes_a_web_page_that_was_returned_by_mistake(self, api: FakeApi, asked: Asked) -> None:
        api.always = Fault(200, f"<html>\n<p>{KEY}</p>" + "a" * 500, {"Content-Type": "text/html"})
        error = asked.fails(r"not a chat completion \(<html> <p>…</p>a+\)")
        assert len(str(error)) < 400


class TestSendingRequests:
    def test_concurrent_requests_do_not_exceed_the_limit(self, api: FakeApi, asked: Asked) -> None:
        api.delay = 0.01
        asked.measured(MANY, limits=RequestLimits(max_concurrency=3))
        assert api.most_at_once == 3
        assert len(api.requests) == len(MANY)

    def test_scores_are_in_the_order_of_the_examples_if_responses_arrive_in_another(
        self, api: FakeApi, asked: Asked
    ) -> None:
        def slow_at_first(messages: Messages) -> str:
            time.sleep(0.05 if "great fun" in messages[-1]["content"] else 0)
            return SAID[messages[-1]["content"].partition("Review: ")[2].partition("\n")[0]]

        api.reply = slow_at_first
        assert asked.measured().scores == [1.0, 1.0, 0.0, 0.0]

    def test_requests_to_localhost_ignore_the_proxy_settings(
        self, asked: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert asked.measured(ROWS[:1]).scores == [1.0]

    def test_the_method_works_inside_a_running_event_loop(self, asked: Asked) -> None:
        async def in_a_notebook() -> EvalResult:
            return asked.measured(ROWS[:1])

        assert asyncio.run(in_a_notebook()).scores == [1.0]
