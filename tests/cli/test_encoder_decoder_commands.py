"""The commands on an encoder-decoder, and what they reject."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.unicode_text import escape_controls
from tests.cli.conftest import Softprompt, Tune, saved_model


@pytest.fixture(scope="module", params=["t5", "bart"])
def encoder_decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an encoder-decoder."""
    return saved_model(tmp_path_factory.mktemp("encoder_decoder"), seed=0, family=request.param)


@pytest.mark.parametrize("method", ["prompt", "prefix", "p-tuning-v2"])
def test_an_encoder_decoder_prompt_classifies(
    softprompt: Softprompt, tune: Tune, encoder_decoder: Path, reviews: Path, output: Path, method: str
) -> None:
    assert tune("--model", encoder_decoder, "--method", method).code == 0
    assert set(softprompt("evaluate", output, "--data", reviews, "--json").json) > {"accuracy", "hard_prompt"}
    found = softprompt("classify", output, "the film was fun", "--json").json["results"]
    assert [each["label"] in ("good", "bad") for each in found] == [True]
    shown = softprompt("show", output, "--json").json
    assert shown["base_model"]["shape"]["kind"] == "encoder-decoder"
    assert [len(each["tokens"]) for each in shown["nearest_tokens"]] == [3, 3, 3]
    exported = softprompt("export", output, output.with_name("peft"), "--format", "peft")
    assert exported.code == (0 if method == "prompt" else 2), exported.err


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_an_encoder_decoder_prompt_generates(
    softprompt: Softprompt, tune: Tune, encoder_decoder: Path, pairs: Path, output: Path, method: str
) -> None:
    assert tune("--model", encoder_decoder, "--method", method, data=pairs).code == 0
    found = softprompt("evaluate", output, "--data", pairs, "--max-new-tokens", 9, "--json").json
    assert found["perplexity"] > 1
    written = softprompt("generate", output, "--prompt", "name: Aro", "--max-new-tokens", 9, "--json").json
    streamed = softprompt("generate", output, "--prompt", "name: Aro", "--max-new-tokens", 9)
    assert streamed.out.strip() == escape_controls(written["response"]).strip()


def test_unsupported_options_of_encoder_decoders_are_rejected(
    softprompt: Softprompt, tune: Tune, encoder_decoder: Path, output: Path
) -> None:
    model = ("--model", encoder_decoder)
    tune(*model, "--template", "{text} so [MASK] .").refused("is not a masked model and cannot fill [MASK]")
    tune(*model, "--placement", "after-text", "--method", "prompt").refused("does not support --placement after-text")
    tune(*model, "--placement", "after-bos").refused("--placement before")
    tune(*model, "--gradient-checkpointing").refused("gradient checkpointing is for causal models")
    assert tune(*model, "--method", "prompt").code == 0
    compiled = softprompt("export", output, output.with_name("prefix"), "--format", "prefix")
    compiled.refused("is encoder-decoder: virtual tokens before attend to the text")
