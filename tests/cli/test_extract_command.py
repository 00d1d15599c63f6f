"""`softprompt extract`, and extractive question answering in the other commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import softprompt as package
from softprompt.model import load_model
from softprompt.saved import SavedPrompt
from tests.cli.conftest import Softprompt, tuned

WriteJsonl = Callable[[str, Sequence[Any]], Path]
ROWS = [
    {"question": "which food?", "context": f"the film serves {food}.", "answer": food} for food in ("rice", "tea")
] * 3
ASKED = ("--question", "which food?", "--context", "the film serves fish.")


@pytest.fixture(scope="session")
def extractor(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """Prefix that extracts food."""
    return tuned(tmp_path_factory.mktemp("extractor"), base, ROWS)


def test_extract_json_has_answer_offsets_and_probability(softprompt: Softprompt, extractor: Path, base: Path) -> None:
    found = softprompt("extract", extractor, *ASKED, "--json").json
    assert set(found) == {"answer", "start", "end", "probability"}
    assert ASKED[-1][found["start"] : found["end"]] == found["answer"]
    assert found == vars(
        package.extract(load_model(str(base)), SavedPrompt.from_folder(extractor), ASKED[1], ASKED[-1])
    )


def test_extract_prints_a_line_with_the_answer(softprompt: Softprompt, extractor: Path) -> None:
    answer = softprompt("extract", extractor, *ASKED, "--json").json["answer"]
    out = softprompt("extract", extractor, *ASKED).out
    assert out.endswith(f"%  {answer}\n")


def test_an_extraction_prompt_is_tuned_and_evaluated(
    softprompt: Softprompt, base: Path, write_jsonl: WriteJsonl, output: Path
) -> None:
    data = write_jsonl("a.jsonl", ROWS)
    settings = ("--model", base, "--max-steps", 2, "--num-virtual-tokens", 2)
    ran = softprompt("tune", *settings, "--data", data, "--validation", data, "--output", output)
    assert ran.code == 0, ran.err
    assert "f1" in ran.out
    assert "softprompt extract" in ran.out
    figures = softprompt("evaluate", output, "--data", data, "--json").json
    assert set(figures) == {"f1", "exact_match", "loss", "cut", "examples", "hard_prompt"}
    assert figures["hard_prompt"] is None
    softprompt("generate", output, "--prompt", "tea").refused("softprompt extract")
    softprompt("tag", output, "tea").refused("softprompt extract")


def test_tune_errors_name_the_line_of_a_record_without_an_answer(
    softprompt: Softprompt, base: Path, write_jsonl: WriteJsonl, output: Path
) -> None:
    row = {"question": "which?", "context": "tea", "answers": {"text": [], "answer_start": []}}
    data = write_jsonl("a.jsonl", [ROWS[0], row])
    softprompt("tune", "--model", base, "--data", data, "--output", output).refused("a.jsonl:2", "SQuAD 2.0")


def test_data_inspect_marks_the_answer(softprompt: Softprompt, base: Path, write_jsonl: WriteJsonl) -> None:
    data = write_jsonl("a.jsonl", ROWS)
    found = softprompt("data", "inspect", data, "--model", base, "--json").json
    assert found["format"] == "extraction"
    assert found["splits"]["data"]["num_duplicates"] == 4
    segments = found["samples"][0]["segments"]
    assert [segment["text"].strip() for segment in segments if segment["supervised"]] == ["rice"]
    assert softprompt("data", "inspect", data, "--model", base).code == 0
