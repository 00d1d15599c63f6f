"""Growth with the number of labels: building a verbalizer, and classifying. On a small model with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.growth.workload import ScalingWorkload
from softprompt.data import Example
from softprompt.evaluation.batch_inference import collect_outputs
from softprompt.model import CausalModel
from softprompt.tasks import ClassificationTask

MAX_POSITIONS = 2048
TEXT = "the film was great fun " * 8


def create_small_model() -> CausalModel:
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
        max_position_embeddings=MAX_POSITIONS,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    return CausalModel(
        LlamaForCausalLM(config), PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"), "small"
    )


def make_task(count: int) -> ClassificationTask:
    """Make a task with labels of two words, one token per letter, so that their paths branch often."""
    return ClassificationTask(labels=tuple(f"kind {i % 97} of {i}" for i in range(count)), template="{text}\nIt is")


def prepare_verbalizer(count: int) -> Callable[[], object]:
    return partial(make_task(count).build_objective, create_small_model(), MAX_POSITIONS)


def prepare_classification(count: int) -> Callable[[], object]:
    model = create_small_model()
    objective = make_task(count).build_objective(model, MAX_POSITIONS)
    rows = [objective.encode_unlabeled(Example({"text": f"{i} {TEXT}"}, "text")) for i in range(4)]
    collect_outputs(objective, None, rows[:1])
    return partial(collect_outputs, objective, None, rows)


WORKLOADS = (
    ScalingWorkload("build a verbalizer", (100, 1_000, 10_000), prepare_verbalizer, "labels"),
    ScalingWorkload(
        "classify four texts among many labels", (100, 300, 1_000, 3_000), prepare_classification, "labels"
    ),
)
