"""`softprompt generate`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import softprompt as package
from softprompt.cli.generate_command import strip_stream
from softprompt.model import load_model
from softprompt.saved import SavedPrompt
from softprompt.unicode_text import escape_controls
from tests.cli.conftest import Softprompt

SHORT = ("--prompt", "food: tea", "--max-new-tokens", "12")


class Recorder:
    """Standard output that records each chunk separately."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def write(self, piece: str) -> None:
        self.pieces.append(piece)

    def flush(self) -> None: ...


def test_generate_json_has_the_prompt_and_the_response(softprompt: Softprompt, writer: Path, base: Path) -> None:
    found = softprompt("generate", writer, *SHORT, "--json").json
    sampling = package.SamplingParams(max_new_tokens=12)
    pieces = package.respond(load_model(str(base)), SavedPrompt.from_folder(writer), "food: tea", sampling)
    assert found == {"prompt": "food: tea", "response": "".join(pieces).strip()}


@pytest.mark.parametrize("sampling", [[], ["--temperature", "1"], ["--temperature", "5", "--seed", "3"]])
def test_streamed_text_equals_the_json_output(softprompt: Softprompt, writer: Path, sampling: list[str]) -> None:
    streamed = softprompt("generate", writer, *SHORT, *sampling)
    assert streamed.code == 0
    response = softprompt("generate", writer, *SHORT, *sampling, "--json").json["response"]
    assert streamed.out == escape_controls(response) + "\n"


def test_generate_streams_the_response_in_several_writes(
    softprompt: Softprompt, writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = softprompt("generate", writer, *SHORT).out
    recorder = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", recorder)
        softprompt("generate", writer, *SHORT)
    assert "".join(recorder.pieces) == whole
    assert len(recorder.pieces) > 3


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([" a", " b"], ["a", " b"]),
        ([" ", "\n", " a"], ["a"]),
        (["a", " ", "\n", "b"], ["a", " \nb"]),
        (["a ", "\n"], ["a"]),
        ([" \n "], []),
        ([], []),
        (["a b", ""], ["a b"]),
    ],
)
def test_strip_stream_removes_white_space_around_the_whole_response(pieces: list[str], whole: list[str]) -> None:
    assert list(strip_stream(pieces)) == whole
    assert "".join(whole) == "".join(pieces).strip()


def test_the_seed_determines_the_sampled_response(softprompt: Softprompt, writer: Path) -> None:
    found = [
        softprompt("generate", writer, *SHORT, "--temperature", "3", "--seed", seed, "--json").json["response"]
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_sampling_from_one_token_equals_greedy_decoding(softprompt: Softprompt, writer: Path) -> None:
    greedy = softprompt("generate", writer, *SHORT, "--json").json
    assert softprompt("generate", writer, *SHORT, "--temperature", "1", "--top-k", "1", "--json").json == greedy
    assert softprompt("generate", writer, *SHORT, "--temperature", "1", "--top-p", "0.01", "--json").json == greedy


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-new-tokens", "0"),
        ("--temperature", "-1"),
        ("--top-p", "0"),
        ("--top-p", "1.5"),
        ("--top-k", "-1"),
        ("--seed", "-1"),
        ("--max-new-tokens", "many"),
    ],
)
def test_generate_rejects_invalid_sampling_parameters(
    softprompt: Softprompt, writer: Path, option: str, value: str
) -> None:
    softprompt("generate", writer, "--prompt", "food: tea", option, value).refused(option)


def test_generate_rejects_max_new_tokens_beyond_the_context_window(softprompt: Softprompt, writer: Path) -> None:
    ran = softprompt("generate", writer, "--prompt", "food: tea", "--max-new-tokens", "125")
    ran.refused("--max-new-tokens 125: choose 1 to 124")


def test_generate_rejects_a_classification_prompt(softprompt: Softprompt, classifier: Path) -> None:
    softprompt("generate", classifier, "--prompt", "a film").refused("does not generate text", "softprompt classify")


def test_generate_rejects_another_base_model(
    softprompt: Softprompt, writer: Path, base: Path, other_base: Path
) -> None:
    ran = softprompt("generate", writer, *SHORT, "--model", other_base)
    ran.refused(*(load_model(str(folder)).fingerprint for folder in (base, other_base)))


def test_generate_rejects_a_missing_prompt(softprompt: Softprompt, tmp_path: Path) -> None:
    softprompt("generate", tmp_path / "gone", *SHORT).refused("gone is not a saved prompt")
