"""Data in every format on the command line: inspected, tuned on, evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from softprompt.saved import SavedPrompt
from tests.cli.conftest import Softprompt, saved_model
from tests.tiny import EOS

WriteJsonl = Callable[[str, Sequence[Any]], Path]

REVIEWS = [{"text": f"{s} was {w}", "label": w} for s in ("it", "the film", "the plot") for w in ("good", "bad")]
ALPACA = [{"instruction": f"说{w}。", "input": "", "output": w} for w in ("你好", "再见", "谢谢", "早安")]
CHATS = [
    {"messages": [{"role": "user", "content": f"say {w}"}, {"role": "assistant", "content": w}]}
    for w in ("rice", "fish", "tea", "pie")
]
SHAREGPT = [{"conversations": [{"from": "human", "value": "say tea"}, {"from": "gpt", "value": "tea"}]}] * 4
QUESTIONS = [
    {"question": f"Which is {w}?", "options": {"A": "rice", "B": "tea"}, "answer": w, "answer_idx": "AB"[w == "tea"]}
    for w in ("rice", "tea")
] * 2
CHAT_TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}" + EOS + "\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
SHORT = ("--max-steps", 2, "--batch-size", 2, "--num-virtual-tokens", 3)


@pytest.fixture(scope="session")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with a chat template."""
    folder = saved_model(tmp_path_factory.mktemp("chat"), seed=0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def test_inspect_shows_counts_duplicates_overlap_and_a_sample(
    softprompt: Softprompt, base: Path, write_jsonl: WriteJsonl
) -> None:
    data = write_jsonl("a.jsonl", [*REVIEWS, REVIEWS[0], {"text": "it was good", "label": "bad"}])
    test = write_jsonl("b.jsonl", [REVIEWS[3], {"text": "new", "label": "good"}])
    ran = softprompt("data", "inspect", data, "--test", test, "--model", base)
    assert ran.code == 0, ran.err
    for words in ("classification", "labelled good", "█", "data and test share 1 inputs", "⟦ good⟧", "a.jsonl:1"):
        assert words in ran.out
    assert "classification (text, label), 8 examples" in ran.err
    found = softprompt("data", "inspect", data, "--test", test, "--model", base, "--json").json
    split = found["splits"]["data"]
    assert found["format"] == "classification"
    assert split["label_counts"] == {"bad": 4, "good": 4}
    assert (split["num_examples"], split["num_duplicates"], split["num_contradictions"]) == (8, 1, 1)
    assert sum(bar["count"] for bar in split["histogram"]) == 8
    assert split["tokens"]["min"] <= split["tokens"]["median"] <= split["tokens"]["max"]
    assert found["overlap"] == [{"between": ["data", "test"], "count": 1}]
    assert found["samples"][0]["segments"] == [
        {"text": found["samples"][0]["segments"][0]["text"], "supervised": False},
        {"text": " good", "supervised": True},
    ]


@pytest.mark.parametrize(
    ("rows", "name", "learnt"),
    [
        (ALPACA, "alpaca", ["你好" + EOS]),
        (CHATS, "chat", ["rice" + EOS]),
        (SHAREGPT, "sharegpt", ["tea" + EOS]),
        (QUESTIONS, "question", [" A"]),
        ([{"input": "say tea", "output": "tea"}], "input-output", ["tea" + EOS]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_inspect_marks_supervised_tokens(
    softprompt: Softprompt, chat_base: Path, write_jsonl: WriteJsonl, rows: list[Any], name: str, learnt: list[str]
) -> None:
    found = softprompt("data", "inspect", write_jsonl("a.jsonl", rows), "--model", chat_base, "--json").json
    assert found["format"] == name
    pieces = found["samples"][0]["segments"]
    assert [piece["text"] for piece in pieces if piece["supervised"]] == learnt


def test_inspect_marks_every_assistant_message_of_a_chat_as_supervised(
    softprompt: Softprompt, chat_base: Path, write_jsonl: WriteJsonl
) -> None:
    turns = [*CHATS[0]["messages"], *CHATS[1]["messages"]]
    found = softprompt(
        "data", "inspect", write_jsonl("a.jsonl", [{"messages": turns}]), "--model", chat_base, "--json"
    ).json
    [shown] = found["samples"]
    assert [piece["supervised"] for piece in shown["segments"]] == [False, True, False, True]
    assert shown["segments"][2]["text"] == f"\n[user]\nsay fish{EOS}\n[assistant]\n"


def test_inspect_rejects_data_that_cannot_be_read(
    softprompt: Softprompt, base: Path, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    both = write_jsonl("a.jsonl", [{"input": "a", "output": "b", "label": "c"}])
    softprompt("data", "inspect", both).refused("--format classification or --format input-output")
    softprompt("data", "inspect", write_jsonl("b.jsonl", [{"words": "a"}]), "--model", base).refused("--map")
    mixed = write_jsonl("c.jsonl", [REVIEWS[0], CHATS[0]])
    softprompt("data", "inspect", mixed).refused("c.jsonl:2", "it fits chat")
    softprompt("data", "inspect", tmp_path / "gone.csv").refused("file not found")
    softprompt("data", "inspect", "hf:a/b/c").refused("Use hf:NAME")
    chats = write_jsonl("d.jsonl", CHATS)
    softprompt("data", "inspect", chats, "--model", base).refused("has no chat template")
    softprompt("data", "inspect", chats, "--map", "text").refused("--map text: expected name=data_name")


def test_inspect_of_a_hub_data_set_without_a_network_is_rejected(softprompt: Softprompt) -> None:
    softprompt("data", "inspect", "hf:nobody/nothing[:10]").refused("hf:nobody/nothing[:10]", "cannot be reached")


def test_map_renames_csv_fields_in_tune_and_evaluate(
    softprompt: Softprompt, base: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    data = write_csv(tmp_path / "a.csv", [{"review": r["text"], "stars": r["label"]} for r in REVIEWS])
    names = ("--map", "text=review,label=stars")
    ran = softprompt("tune", "--data", data, *names, "--model", base, "--output", tmp_path / "p", *SHORT)
    assert ran.code == 0, ran.err
    assert ran.err.count("classification (text, label), 6 examples") == 1
    assert SavedPrompt.from_folder(tmp_path / "p").manifest.task.labels == ("bad", "good")
    assert softprompt("evaluate", tmp_path / "p", "--data", data, *names, "--json").json["examples"] == 6
    softprompt("evaluate", tmp_path / "p", "--data", data).refused("no field 'label'", "review, stars")
    softprompt("evaluate", tmp_path / "p", "--data", data, "--map", "text=body").refused("no field 'body'")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [(ALPACA, "generation"), (QUESTIONS, "classification"), (CHATS, "chat"), (SHAREGPT, "chat")],
    ids=["alpaca", "question", "chat", "sharegpt"],
)
def test_tune_evaluate_and_show_support_every_data_format(
    softprompt: Softprompt, chat_base: Path, tmp_path: Path, write_jsonl: WriteJsonl, rows: list[Any], kind: str
) -> None:
    data = write_jsonl("a.jsonl", rows)
    tuned = softprompt("tune", "--data", data, "--model", chat_base, "--output", tmp_path / "p", *SHORT, "--json").json
    assert tuned["steps"] == 2
    assert SavedPrompt.from_folder(tmp_path / "p").manifest.task.kind == kind
    figures = softprompt("evaluate", tmp_path / "p", "--data", data, "--max-new-tokens", 3, "--json").json
    assert figures["examples"] == len(rows)
    assert softprompt("show", tmp_path / "p", "--no-neighbors").code == 0


def test_a_chat_prompt_is_tuned_and_generates(
    softprompt: Softprompt, chat_base: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    data = write_jsonl("a.jsonl", CHATS)
    output = tmp_path / "p"
    options = ("--data", data, "--validation", data, "--model", chat_base, "--output", output)
    ran = softprompt("tune", *options, *SHORT)
    assert ran.code == 0, ran.err
    assert "perplexity" in ran.out
    assert f"softprompt generate {output}" in ran.out
    said = softprompt("generate", output, "--prompt", "say 你好", "--max-new-tokens", 4, "--json").json
    assert said["prompt"] == "say 你好"
    softprompt("classify", output, "say tea").refused("use softprompt generate")
    softprompt("tune", *options, "--template", "{messages}", "--overwrite").refused(
        "a chat uses the model's chat template"
    )
    softprompt("tune", *options, "--labels", "a,b", "--task", "chat", "--overwrite").refused("this task is a chat")


def test_a_run_on_a_saved_dataset_resumes_only_with_the_same_data(
    softprompt: Softprompt, base: Path, tmp_path: Path, write_jsonl: WriteJsonl
) -> None:
    from datasets import Dataset

    Dataset.from_list(REVIEWS).save_to_disk(tmp_path / "folder")
    output = ("--output", tmp_path / "p")
    ran = softprompt("tune", "--data", tmp_path / "folder", "--model", base, *output, *SHORT)
    assert ran.code == 0, ran.err
    facts = json.loads((tmp_path / "p.run" / "run.json").read_text())
    assert facts["settings"]["data"] == str(tmp_path / "folder")
    assert len(facts["data"]["data"]) == 64
    assert softprompt("tune", *output, "--resume").code == 0
    Dataset.from_list(REVIEWS[:-1]).save_to_disk(tmp_path / "folder")
    softprompt("tune", *output, "--resume").refused("began with other data")
