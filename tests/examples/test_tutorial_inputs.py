"""Every example script runs on the model and data set of its tutorial once its two names, MODEL and DATA, are changed.

Tests do not use the network. They have a tiny model of the same family, and a table with the fields of the data set on
the Hub. The names are changed in the text of the script, as its reader would.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BloomConfig,
    GPT2Config,
    PreTrainedConfig,
)

from softprompt.saved import SavedPrompt
from tests.tiny import tiny_masked_tokenizer, tiny_tokenizer

SIZES: dict[str, Any] = {"vocab_size": 384, "hidden_size": 24, "num_attention_heads": 4, "num_hidden_layers": 2}
GPT2 = GPT2Config(vocab_size=384, n_embd=24, n_head=4, n_layer=2, n_positions=1024, bos_token_id=0, eos_token_id=1)
BLOOM = BloomConfig(**SIZES)
BERT = BertConfig(**SIZES, intermediate_size=40)

STARS = datasets.ClassLabel(names=["1 star", "2 star", "3 stars", "4 stars", "5 stars"])
YELP = datasets.Features({"label": STARS, "text": datasets.Value("string")})
OWN: dict[str, tuple[PreTrainedConfig, dict[str, Any], datasets.Features | None]] = {
    "prefix_tuning_reviews": (GPT2, {"label": 4, "text": "The food was great fun.\n\n" + 30 * "Lovely rice! "}, YELP),
    "prompt_tuning_instructions": (BLOOM, {"instruction": "说一个季节。", "input": "", "output": "春天。"}, None),
    "p_tuning_conversation": (BLOOM, {"instruction": "说一个季节。", "input": "四季", "output": "春天。"}, None),
    "compare_methods_medical": (
        GPT2,
        {
            "question": "Which is a fruit?",
            "answer": "rice",
            "options": {"A": "rice", "B": "fish", "C": "tea", "D": "pie"},
            "meta_info": "step1",
            "answer_idx": "A",
            "metamap_phrases": ["fruit"],
        },
        None,
    ),
    "cloze_verbalizer": (BERT, {"text": "质量很好", "label": 1}, None),
}
OTHER = {
    "compare_methods_medical": {"answer": "fish", "answer_idx": "B"},
    "cloze_verbalizer": {"text": "坏了", "label": 0},
}


def saved(folder: Path, config: PreTrainedConfig) -> None:
    """A model with random weights of that family."""
    masked = config.model_type == "bert"
    torch.manual_seed(0)
    network = (AutoModelForMaskedLM if masked else AutoModelForCausalLM).from_config(config, dtype=torch.float32)
    network.save_pretrained(folder)
    (tiny_masked_tokenizer() if masked else tiny_tokenizer()).save_pretrained(folder)


@pytest.mark.parametrize("job", OWN)
def test_an_example_script_runs_with_another_model_and_data_set(
    job: str, project: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, row, features = OWN[job]
    saved(tmp_path / "model", config)
    rows = [row, {**row, **OTHER.get(job, {})}] * 150
    if job == "compare_methods_medical":  # whose script compares: no question may be learnt from and measured on
        rows = [{**each, "question": f"{each['question']} ({number})"} for number, each in enumerate(rows)]
    datasets.Dataset.from_list(rows, features).save_to_disk(tmp_path / "data")
    source = Path(f"examples/{job}.py").read_text("utf-8")
    for name, own in {"MODEL": "model", "DATA": "data"}.items():
        source, count = re.subn(rf"^{name} = .*$", f"{name} = {str(tmp_path / own)!r}", source, flags=re.MULTILINE)
        assert count == 1
    exec(compile(source, f"{job}.py", "exec"), {"__name__": "__main__"})
    made = [SavedPrompt.from_folder(manifest.parent) for manifest in Path("runs", job).glob("*/softprompt.json")]
    assert made
    assert all(prompt.manifest.base.name == str(tmp_path / "model") for prompt in made)
