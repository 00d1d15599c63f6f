"""Models of real shapes with random weights, and texts for them, for speed and memory without a download.

The output of such a model is noise. The duration and memory of a step do not depend on the weights.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.initialization import no_init_weights

from softprompt.data import Example
from softprompt.model import FrozenModel, freeze_network
from softprompt.model.device_dtype import DTYPES

#: `1b` is Llama 3.2 1B's; `tiny` is for trying out a script.
SHAPES: dict[str, dict[str, Any]] = {
    "1b": {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 1024,
    },
}
BOS, EOS, UNKNOWN = "<s>", "</s>", "<unk>"
LABELS = ("bad", "good")
MAX_VOCABULARY = 30_000


def create_random_model(shape: str, dtype: str, device: str, texts: Sequence[str]) -> FrozenModel:
    """Create a frozen Llama of a shape, whose tokenizer has the words of the texts."""
    config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=True, bos_token_id=0, eos_token_id=1)
    with no_init_weights():  # initialization takes longer than a step, and is overwritten
        network = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype]).to(device)
    network.tie_weights()  # skipped by no_init_weights
    with torch.no_grad():
        fill_parameters([parameter for parameter in network.parameters() if parameter.ndim > 1])
    return freeze_network(
        network, train_word_tokenizer(texts, min(MAX_VOCABULARY, config.vocab_size)), f"random-{shape}"
    )


def fill_parameters(parameters: Iterable[torch.Tensor]) -> None:
    """Fill the parameters with the same million random numbers repeatedly: a billion take a minute to draw."""
    drawn = 0.02 * torch.randn(2**20 + 7, generator=torch.Generator().manual_seed(0))
    for parameter in parameters:
        numbers = drawn.to(parameter)
        for part in parameter.view(-1).split(len(numbers)):
            part.copy_(numbers[: len(part)])


def train_word_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer with a token per common word and, like Llama's, a BOS token before the text."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [BOS, EOS, UNKNOWN]
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN)


def make_random_examples(count: int, min_words: int = 20, max_words: int = 60) -> list[Example]:
    """Make texts of random words, as long as sentences of reviews, with alternating labels."""
    drawn = random.Random(0)
    texts = [
        " ".join(f"w{drawn.randrange(300)}" for _ in range(drawn.randint(min_words, max_words))) for _ in range(count)
    ]
    return [
        Example({"text": text, "label": LABELS[number % len(LABELS)]}, f"example {number}")
        for number, text in enumerate(texts)
    ]
