"""Chats through OpenAI's own client."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import CompletionUsage

from softprompt.evaluation import SamplingParams, respond
from softprompt.model import CausalModel, FrozenModel
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.tasks import ChatTask
from softprompt.tasks.chat_tokenizer import ChatTokenizer
from softprompt.tasks.task import Task
from tests.distillation.exact_form import distil_exactly
from tests.server.live_server import ANSWERS, BASE, Running, chatting_model, prompt_for, running

FILM: Any = [{"role": "user", "content": "the film was great"}]


@pytest.fixture(scope="module")
def alone() -> FrozenModel:
    """The server's model once more: the one that serves is not to be run by anybody else."""
    return chatting_model()


def written_alone(model: FrozenModel, task: Task, seed: int, text: str, tokens: int) -> str:
    """What evaluation writes behind a prompt of the store."""
    prompt: SavedPrompt = prompt_for(model, task, seed)
    return "".join(respond(model, prompt, text, SamplingParams(tokens)))


def said(client: openai.OpenAI, model: str, **more: Any) -> str:
    asked = {"messages": FILM, "max_tokens": 12, "temperature": 0, **more}
    return client.chat.completions.create(model=model, **asked).choices[0].message.content or ""


def test_a_served_response_equals_that_of_the_python_function_respond(
    client: openai.OpenAI, alone: FrozenModel
) -> None:
    answer = client.chat.completions.create(model="answers", messages=FILM, max_tokens=12, temperature=0)
    choice = answer.choices[0]
    assert choice.message.content == written_alone(alone, ANSWERS, 0, "the film was great", 12).strip()
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    assert answer.model == "answers@1"
    assert answer.system_fingerprint == f"fp_{alone.fingerprint.removeprefix('sha256:')}"


def test_an_alias_or_a_version_number_selects_a_version(client: openai.OpenAI, alone: FrozenModel) -> None:
    second = written_alone(alone, ANSWERS, 1, "the film was great", 12).strip()
    assert said(client, "answers@canary") == said(client, "answers@2") == second
    assert said(client, "answers@1") == said(client, "answers") != second


def test_a_chat_prompt_and_the_base_model_read_all_messages(client: openai.OpenAI, alone: FrozenModel) -> None:
    assert said(client, "chat") == written_alone(alone, ChatTask(), 4, "the film was great", 12)
    longer: Any = [{"role": "system", "content": "rice"}, *FILM]
    for model in ("chat", BASE):
        assert said(client, model, messages=longer) != said(client, model)
    assert said(client, "answers", messages=longer) == said(client, "answers")


def test_messages_may_have_text_parts_and_the_developer_role(client: openai.OpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": t} for t in ("the film ", "was great")]}]
    assert said(client, BASE, messages=parts) == said(client, BASE)
    by: Any = [[{"role": role, "content": "rice"}, *FILM] for role in ("developer", "system")]
    assert said(client, BASE, messages=by[0]) == said(client, BASE, messages=by[1])


def test_a_stream_equals_the_whole_response(client: openai.OpenAI) -> None:
    for model in ("answers", "chat", BASE, "behind"):
        asked: Any = {"model": model, "messages": FILM, "max_tokens": 20, "temperature": 0.9, "seed": 3, "n": 2}
        whole = client.chat.completions.create(**asked)
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        texts, reasons = ["", ""], [[], []]  # type: ignore[var-annotated]
        for chunk in chunks[:-1]:
            [choice] = chunk.choices
            assert chunk.usage is None
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] += [choice.finish_reason] if choice.finish_reason else []
        assert texts == [choice.message.content for choice in whole.choices]
        assert reasons == [[choice.finish_reason] for choice in whole.choices]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices == []
        for each in (whole.usage, usage := chunks[-1].usage):
            assert each is not None
            each.prompt_tokens_details = None  # the second time some of it is known
        assert usage == whole.usage
        assert {chunk.model for chunk in chunks} == {whole.model}


def test_usage_counts_text_tokens_without_virtual_tokens(client: openai.OpenAI, alone: FrozenModel) -> None:
    usage = client.chat.completions.create(
        model="answers", messages=FILM, max_tokens=7, extra_body={"ignore_eos": True}
    ).usage
    assert usage is not None
    text = alone.prompt_tokenizer.encode_text("the film was great\nAnswer:")
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(text), 7)
    assert usage.total_tokens == len(text) + 7


def test_a_distilled_system_message_is_neither_sent_nor_counted(alone: FrozenModel, tmp_path: Path) -> None:
    """A chat behind the exact form equals a chat with the text as system message; a message of its own continues it."""
    assert isinstance(alone, CausalModel)
    text, own = "the food is awful", {"role": "system", "content": "be lovely"}
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        store.register_prompt(distil_exactly(alone, text), "instructed")
    with running(tmp_path / "store", chatting_model()) as server, server.client() as client:
        for said_first, whole in (([], text), ([own], f"{text}\n\n{own['content']}")):
            asked: Any = {"max_tokens": 8, "temperature": 0, "extra_body": {"ignore_eos": True}}
            short = client.chat.completions.create(model="instructed", messages=[*said_first, *FILM], **asked)
            system: Any = {"role": "system", "content": whole}
            long = client.chat.completions.create(model=BASE, messages=[system, *FILM], **asked)
            assert short.choices[0].message.content == long.choices[0].message.content
            assert short.usage is not None
            assert long.usage is not None
            num_distilled = len(ChatTokenizer(alone).tokenize_system_message(text) or ())
            assert long.usage.prompt_tokens - short.usage.prompt_tokens == num_distilled


def test_usage_reports_cached_tokens(client: openai.OpenAI) -> None:
    text = "the film was long and the band played on " * 4

    def usage(model: str) -> CompletionUsage:
        found = client.completions.create(model=model, prompt=text, max_tokens=3, n=2).usage
        assert found is not None
        return found

    before, after = usage("answers"), usage("answers")
    assert before.prompt_tokens_details is not None
    assert after.prompt_tokens_details is not None
    assert before.prompt_tokens_details.cached_tokens == 0
    assert 0 < (after.prompt_tokens_details.cached_tokens or 0) < after.prompt_tokens


def test_response_i_of_a_request_has_the_seed_plus_i(client: openai.OpenAI) -> None:
    asked: Any = {"model": "answers", "messages": FILM, "max_tokens": 12, "temperature": 1.5}
    three = client.chat.completions.create(**asked, n=3, seed=5).choices
    alone = [client.chat.completions.create(**asked, seed=5 + i).choices[0] for i in range(3)]
    assert [each.message.content for each in three] == [each.message.content for each in alone]
    assert len({each.message.content for each in three}) > 1


def test_responses_without_a_seed_differ(client: openai.OpenAI) -> None:
    assert len({said(client, "answers", temperature=1.5) for _ in range(4)}) > 1


def test_a_stop_string_ends_a_response(client: openai.OpenAI) -> None:
    whole = said(client, "answers", max_tokens=20)
    stop = whole[3:5]
    for form in (stop, [stop, "never said"]):
        answer = client.chat.completions.create(model="answers", messages=FILM, max_tokens=20, temperature=0, stop=form)
        assert answer.choices[0].message.content == whole[: whole.index(stop)].strip()
        assert answer.choices[0].finish_reason == "stop"


def test_chat_returns_logprobs(client: openai.OpenAI) -> None:
    asked: Any = {"model": "answers", "messages": FILM, "max_tokens": 5, "temperature": 0, "logprobs": True}
    choice = client.chat.completions.create(**asked, top_logprobs=2).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 2
        assert token.top_logprobs[0].token == token.token  # greedy
        assert token.top_logprobs[0].logprob == token.logprob >= token.top_logprobs[1].logprob
        assert 0 < math.exp(token.logprob) <= 1
    chunks = client.chat.completions.create(**asked, top_logprobs=2, stream=True)
    streamed = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content or []]
    assert [(t.token, t.bytes) for t in streamed] == [(t.token, t.bytes) for t in choice.logprobs.content]


def test_logit_bias_selects_tokens(client: openai.OpenAI, alone: FrozenModel) -> None:
    [token] = alone.prompt_tokenizer.tokenize("rice")
    bias = {str(token): 100}
    assert said(client, "answers", max_tokens=2, logit_bias=bias) == "ricerice"


def test_responses_follow_a_json_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema, "strict": True}}
    answer = json.loads(said(client, "answers", max_tokens=60, response_format=form))
    assert answer in ({"a": "x"}, {"a": "y"})
    assert said(client, "answers", response_format={"type": "text"}) == said(client, "answers")


@pytest.mark.parametrize(
    ("form", "allowed"),
    [
        ({"regex": "[0-9]{2}(!|\\?)"}, r"[0-9]{2}[!?]"),
        ({"choice": ["yes, it is", "no. (never)\n", "#é"]}, r"yes, it is|no\. \(never\)|#é"),
        ({"json": {"enum": ["a", 7]}}, r'"a"|7'),
    ],
)
def test_structured_outputs_constrain_responses(client: openai.OpenAI, form: dict[str, Any], allowed: str) -> None:
    answer = said(client, "answers", max_tokens=40, temperature=1, extra_body={"structured_outputs": form})
    assert re.fullmatch(allowed, answer)


@pytest.mark.parametrize(
    "form",
    [{}, {"regex": "(", "json": {}}, {"regex": "("}, {"choice": []}, {"grammar": "x"}, {"json": {"type": "banana"}}],
)
def test_invalid_response_formats_are_rejected(served: Running, form: dict[str, Any]) -> None:
    status, _ = served.refused(
        "/v1/chat/completions", {"model": "answers", "messages": FILM, "structured_outputs": form}
    )
    assert status == 400


def test_fields_fill_a_template_with_several_fields(served: Running, client: openai.OpenAI) -> None:
    fields = {"name": "Aro", "food": "fish"}
    for other in ({"name": "Ber", "food": "fish"}, {"name": "Aro", "food": "rice"}):
        texts = [said(client, "pairs", extra_body={"fields": each}) for each in (fields, other)]
        assert texts[0] != texts[1]
    for wrong, word in (
        (None, "name, food"),
        ({"name": "Aro"}, "food"),
        ({**fields, "x": 1}, "'x'"),
        ({"name": [], "food": ""}, "not text"),
    ):
        body = {"model": "pairs", "messages": FILM, "fields": wrong}
        status, error = served.refused("/v1/chat/completions", body)
        assert status == 400
        assert word in error["message"]


def test_curl_receives_server_sent_events(served: Running) -> None:
    body = {"model": "answers", "messages": FILM, "max_tokens": 5, "temperature": 0, "stream": True}
    url = f"{served.url}/v1/chat/completions"
    command = ["curl", "-sN", url, "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    assert all(c["object"] == "chat.completion.chunk" for c in chunks)
