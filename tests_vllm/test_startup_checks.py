"""vLLM does not start with settings that would lose prompts, and rejects prompts without the connector."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import Gemma2Config, MistralConfig, PreTrainedConfig

from softprompt.errors import ModelNotSupported, SettingError
from softprompt.vllm.plugin import CONNECTOR_MODULE
from softprompt.vllm_protocol import build_kv_transfer_config
from tests_vllm.factories import SIZES, Row, drawn, put, tiny
from tests_vllm.in_process_engine import asked, running

SMALL: dict[str, Any] = {"max_num_seqs": 4, "num_gpu_blocks_override": 24}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    tiny(folder)
    return folder


def starts(folder: Path, place: Path, settings: dict[str, Any] | None = None, **options: Any) -> None:
    with running(folder, place, settings, **{**SMALL, **options}):
        pass


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "sliding window": lambda: MistralConfig(**SIZES, sliding_window=64),
    "sliding window in some layers": lambda: Gemma2Config(
        **SIZES, head_dim=32, sliding_window=64, query_pre_attn_scalar=32, pad_token_id=2
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_vllm_does_not_start_with_an_unsupported_model(tmp_path: Path, kind: str) -> None:
    tiny(tmp_path, CONFIGS[kind]())
    with pytest.raises(ModelNotSupported, match="sliding window"):
        starts(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"artifact_location": ""}, "location of the prompts is missing"), ({"promts": "x"}, "no setting 'promts'")],
)
def test_vllm_does_not_start_with_invalid_plugin_settings(
    llama: Path, tmp_path: Path, settings: Any, says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        starts(llama, tmp_path, settings)


def test_vllm_does_not_start_with_recomputation_after_failed_loads(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match='must be "fail"'):
        starts(
            llama,
            tmp_path,
            kv_transfer_config={**build_kv_transfer_config(str(tmp_path)), "kv_load_failure_policy": "recompute"},
        )


def test_vllm_does_not_start_in_an_unsupported_version(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm.__version__", "0.33.0")
    with pytest.raises(SettingError, match=r">=0\.32\.0,<0\.33, not 0\.33\.0"):
        starts(llama, tmp_path)


def test_both_model_runners_of_vllm_validate_requests_with_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """On GPUs it is the second, which refuses classes that were made for the first."""
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.sample.logits_processor import validate_logits_processors_parameters
    from vllm.v1.worker.gpu.sample.logits_processor.loader import build_custom_logits_processors_params_validator

    monkeypatch.setitem(sys.modules, CONNECTOR_MODULE, sys)
    wrong = SamplingParams(extra_args={"kv_transfer_params": {"softprompt": {}}})
    with pytest.raises(VLLMValidationError, match="^softprompt: "):
        build_custom_logits_processors_params_validator(None)(wrong)
    with pytest.raises(VLLMValidationError, match="^softprompt: "):
        validate_logits_processors_parameters(None, wrong)


def test_requests_with_a_prompt_are_rejected_without_the_connector(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.exceptions import VLLMValidationError

    from softprompt.model import load_model

    model = load_model(str(llama), device="cpu")
    row = Row([3, 4, 5], put(tmp_path, model, drawn(model, 40, 0)))
    monkeypatch.delitem(sys.modules, CONNECTOR_MODULE, raising=False)
    with running(llama, tmp_path, **{**SMALL, "kv_transfer_config": None}) as llm:
        with pytest.raises(VLLMValidationError, match=r"^(?!softprompt:).*cannot serve prompts"):
            asked(llm, [row], 4)
        [bare] = asked(llm, [Row([3, 4, 5])], 4)
        assert len(bare.outputs[0].token_ids) == 4
