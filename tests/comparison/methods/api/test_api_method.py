"""The hard prompt through a fake API, with the real openai package: its metrics and its cost."""

from __future__ import annotations

import pytest

from softprompt.comparison.methods.adaptation_method import MethodKind
from softprompt.comparison.methods.api.api_method import ApiMethod
from softprompt.errors import RecordError
from softprompt.model_api.api_counts import ApiCounts
from softprompt.tasks import ChatTask, ClassificationTask, GenerationTask
from tests.comparison.methods.api.api_harness import ROWS, SAID, TASK, Asked, says
from tests.model_api.fake_openai import FakeApi


class TestClassification:
    def test_replies_with_the_correct_label_have_a_score_of_1(self, api: FakeApi, asked: Asked) -> None:
        api.reply = says(SAID)
        found = asked.measured()
        assert found.scores == [1.0, 1.0, 0.0, 0.0]
        assert found.metrics["accuracy"] == 0.5
        assert list(found.metrics) == ["accuracy", "macro_f1"]
        assert found.confusion == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]

    def test_an_unreadable_reply_counts_as_wrong_in_macro_f1(self, api: FakeApi, asked: Asked) -> None:
        api.reply = says(SAID)
        # bad: 1 of 1 found, 1 of 2 right; good: 1 of 2 found, 1 of 1 right; mixed: missed.
        assert asked.measured().metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)

    def test_metrics_are_1_if_all_replies_are_correct(self, api: FakeApi, asked: Asked) -> None:
        api.reply = says({row["text"]: row["label"] for row in ROWS})
        assert asked.measured().metrics == {"accuracy": 1.0, "macro_f1": 1.0}

    def test_metrics_are_0_if_all_replies_are_unreadable(self, api: FakeApi, asked: Asked) -> None:
        api.reply = lambda messages: None
        found = asked.measured()
        assert found.metrics == {"accuracy": 0.0, "macro_f1": 0.0}
        assert found.confusion == [[0] * 3] * 3

    def test_unreadable_replies_are_counted(self, api: FakeApi, asked: Asked) -> None:
        api.reply = says(SAID)
        fitted, experiment = asked.fitted()
        fitted.evaluate(experiment.test)
        assert fitted.api_usage is not None
        assert fitted.api_usage.unreadable == 1

    def test_the_request_has_the_expected_fields(self, api: FakeApi, asked: Asked) -> None:
        asked.measured(ROWS[:1], argument="big-model")
        (request,) = api.requests
        assert request["model"] == "big-model"
        assert request["temperature"] == 0
        assert request["max_tokens"] < 20
        system, user = request["messages"]
        assert system["role"] == "system"
        assert system["content"].endswith("\nbad\ngood\nmixed")
        assert user == {"role": "user", "content": "Review: great fun\nLabel:"}

    def test_the_request_lists_the_words_of_the_verbalizer(self, api: FakeApi, asked: Asked) -> None:
        task = ClassificationTask(template="{text}\n", labels=("0", "1"), words={"0": "terrible", "1": "wonderful"})
        api.reply = says({"great": "Wonderful!", "bore": "terrible"})
        rows = [{"text": "great", "label": "1"}, {"text": "a bore", "label": "0"}]
        assert asked.measured(rows, task).scores == [1.0, 1.0]
        assert api.requests[0]["messages"][0]["content"].endswith("\nterrible\nwonderful")

    def test_chinese_labels_are_recognized(self, api: FakeApi, asked: Asked) -> None:
        task = ClassificationTask(template="评论：{text}\n情感：", labels=("正面", "负面"))
        api.reply = says({"好看": "情感：正面。", "无聊": "负面的"})
        rows = [{"text": "很好看", "label": "正面"}, {"text": "真无聊", "label": "负面"}]
        assert asked.measured(rows, task).scores == [1.0, 1.0]
        assert "评论：很好看\n情感：" in api.users_words

    def test_the_mask_in_a_template_is_sent_as_a_blank(self, api: FakeApi, asked: Asked) -> None:
        task = ClassificationTask(template="{text}. It was [MASK].", labels=("bad", "good"))
        asked.measured(ROWS[:1], task)
        assert api.users_words == ["great fun. It was _____."]


class TestGeneration:
    def test_generation_has_bleu_as_metric(self, api: FakeApi, asked: Asked) -> None:
        right = "Aro serves rice and fish every day."
        api.reply = says({"Aro": right, "Ber": "no idea at all, sorry about that"})
        rows = [{"input": "name: Aro", "output": right}, {"input": "name: Ber", "output": "Ber is a small tea house."}]
        found = asked.measured(rows, GenerationTask(template="{input}\n"))
        assert list(found.metrics) == ["bleu"]
        assert 20 < found.metrics["bleu"] < 80
        assert found.scores[0] == pytest.approx(100)
        assert found.scores[1] < 20
        assert found.confusion is None
        assert [len(request["messages"]) for request in api.requests] == [1, 1]

    def test_bleu_uses_the_closest_of_several_references(self, api: FakeApi, asked: Asked) -> None:
        api.reply = lambda messages: "The second of the two references."
        rows = [{"input": "x", "references": ["Something else entirely here.", "The second of the two references."]}]
        assert asked.measured(rows, GenerationTask()).metrics["bleu"] == pytest.approx(100)

    def test_an_empty_reply_is_unreadable(self, api: FakeApi, asked: Asked) -> None:
        api.reply = lambda messages: None
        fitted, experiment = asked.fitted([{"input": "x", "output": "y z"}], GenerationTask())
        assert fitted.evaluate(experiment.test).scores == [0.0]
        assert fitted.api_usage.unreadable == 1

    def test_a_chat_is_sent_up_to_the_last_answer(self, api: FakeApi, asked: Asked) -> None:
        said = [("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi there"), ("user", "Are you well?")]
        messages = [{"role": role, "content": text} for role, text in said]
        answer = {"role": "assistant", "content": "Very well, thank you."}
        api.reply = lambda messages: answer["content"]
        found = asked.measured([{"messages": [*messages, answer, {"role": "user", "content": "Bye"}]}], ChatTask())
        assert api.requests[0]["messages"] == messages
        assert found.metrics["bleu"] == pytest.approx(100)

    def test_a_chat_that_the_assistant_begins_is_rejected(self, asked: Asked) -> None:
        with pytest.raises(RecordError, match="no message comes before the assistant"):
            asked.measured([{"messages": [{"role": "assistant", "content": "Hi"}]}], ChatTask())


class TestCost:
    def test_the_usage_counts_requests_and_tokens(self, asked: Asked) -> None:
        fitted, experiment = asked.fitted()
        fitted.evaluate(experiment.test)
        assert fitted.api_usage == ApiCounts(4, 0, 0, prompt_tokens=40, completion_tokens=8)

    def test_token_counts_are_unknown_without_usage(self, api: FakeApi, asked: Asked) -> None:
        api.usage = None
        fitted, experiment = asked.fitted()
        fitted.evaluate(experiment.test)
        calls = fitted.api_usage
        assert (calls.prompt_tokens, calls.completion_tokens) == (None, None)

    def test_fitting_the_method_sends_no_requests(self, api: FakeApi, asked: Asked) -> None:
        fitted, _ = asked.fitted()
        assert api.requests == []
        assert fitted.api_usage.requests == 0

    def test_equal_examples_are_requested_once(self, api: FakeApi, asked: Asked) -> None:
        fitted, experiment = asked.fitted([*ROWS, ROWS[0]])
        first = fitted.evaluate(experiment.test)
        assert fitted.evaluate(experiment.test) == first
        assert len(first.scores) == 5
        assert len(api.requests) == 4

    def test_the_method_reports_its_properties_and_stored_bytes(self, asked: Asked) -> None:
        fitted, experiment = asked.fitted()
        assert (ApiMethod.kind, ApiMethod.is_trained, ApiMethod.is_stochastic) == (MethodKind.API, False, False)
        assert fitted.stored_bytes == len(TASK.template.encode())
        assert (fitted.num_trained_parameters, fitted.shares_base_weights, fitted.training_record) == (0, True, None)
        assert (fitted.compute_reference_loss(["x"]), fitted.benchmark_serving(experiment.test, 8)) == (None, None)
