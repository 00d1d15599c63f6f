"""Labels: building a verbalizer of many, telling a text's label among many. On a small model with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.growth.workload import Workload
from softprompt.data import Example
from softprompt.evaluation.measuring import row_outputs
from softprompt.model import CausalModel
from softprompt.tasks import ClassificationTask

WINDOW = 2048
TEXT = "the film was great fun " * 8


def small_model() -> CausalModel:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=WINDOW,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    return CausalModel(
        LlamaForCausalLM(config), PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"), "small"
    )


def task_of(count: int) -> ClassificationTask:
    """So many labels of two words, a token a letter: they part in many places."""
    return ClassificationTask(labels=tuple(f"kind {i % 97} of {i}" for i in range(count)), template="{text}\nIt is")


def prepare_building(count: int) -> Callable[[], object]:
    return partial(task_of(count).bind, small_model(), WINDOW)


def prepare_classifying(count: int) -> Callable[[], object]:
    model = small_model()
    objective = task_of(count).bind(model, WINDOW)
    rows = [objective.encode_text(Example({"text": f"{i} {TEXT}"}, "text")) for i in range(4)]
    row_outputs(objective, None, rows[:1])
    return partial(row_outputs, objective, None, rows)


WORKLOADS = (
    Workload("build a verbalizer", (100, 1_000, 10_000), prepare_building, "labels"),
    Workload("classify four texts among many labels", (100, 300, 1_000, 3_000), prepare_classifying, "labels"),
)
