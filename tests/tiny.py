"""Tiny random models of every family, with weights large enough that a wrong answer differs by far more than 1e-4."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BertConfig,
    BloomConfig,
    DistilBertConfig,
    ElectraConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MBartConfig,
    MistralConfig,
    MT5Config,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
)

from softprompt.model import FrozenModel, ModelKind, freeze_network

WORDS = "the film was great fun a bore lovely awful good bad name food serves rice fish tea its plot ending scene"
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
CLS, SEP, MASK = "[CLS]", "[SEP]", "[MASK]"

_SIZE: dict[str, Any] = {"vocab_size": 384, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}

_GROUPED: dict[str, Any] = {
    **_SIZE,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 128,
}
_SPECIAL: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_GROUPED),
    "qwen2": Qwen2Config(**_GROUPED),
    "qwen3": Qwen3Config(**_GROUPED, head_dim=8),  # all heads together exceed the hidden size, as in Qwen3
    "mistral": MistralConfig(**_GROUPED, sliding_window=96),
    "gemma2": Gemma2Config(**_GROUPED, **_SPECIAL, head_dim=8, sliding_window=96, query_pre_attn_scalar=8),
    "gemma3": Gemma3TextConfig(**_GROUPED, **_SPECIAL, head_dim=8, sliding_window=96, sliding_window_pattern=2),
    "phi3": Phi3Config(**_GROUPED, **_SPECIAL, sliding_window=96),
    "gpt2": GPT2Config(vocab_size=384, n_embd=24, n_layer=3, n_head=4, n_positions=128),
    "bloom": BloomConfig(vocab_size=384, hidden_size=24, n_layer=3, n_head=4),
    "gpt_neox": GPTNeoXConfig(**_SIZE, intermediate_size=40, max_position_embeddings=128),
    "opt": OPTConfig(**_SIZE, **_SPECIAL, ffn_dim=40, max_position_embeddings=128),
    "falcon": FalconConfig(**_SIZE, **_SPECIAL, max_position_embeddings=128),  # one key/value head for all
    "falcon-new": FalconConfig(
        **_SIZE, **_SPECIAL, max_position_embeddings=128, new_decoder_architecture=True, num_kv_heads=2
    ),
    "falcon-alibi": FalconConfig(
        **_SIZE, **_SPECIAL, max_position_embeddings=128, alibi=True, multi_query=False, bias=True
    ),
}

FAMILIES = tuple(CONFIGS)

#: Causal families whose attention does not show its queries.
WITHOUT_QUERIES = ("bloom", "falcon", "falcon-new", "falcon-alibi")

_ENCODER: dict[str, Any] = {**_SIZE, "intermediate_size": 40, "max_position_embeddings": 64, "pad_token_id": 2}

MASKED_CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**_ENCODER),
    "roberta": RobertaConfig(**_ENCODER),
    "xlm-roberta": XLMRobertaConfig(**_ENCODER),
    "distilbert": DistilBertConfig(
        vocab_size=384, dim=24, n_layers=3, n_heads=4, hidden_dim=40, max_position_embeddings=64, pad_token_id=2
    ),
    "electra": ElectraConfig(**_ENCODER, embedding_size=16),
    "albert": AlbertConfig(**_ENCODER, embedding_size=16),
}

MASKED_FAMILIES = tuple(MASKED_CONFIGS)

_T5: dict[str, Any] = {
    "vocab_size": 384,
    "d_model": 24,
    "d_kv": 8,  # all heads together exceed the hidden size, as in the largest T5
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,  # few, so that even tiny sequences use several
    "relative_attention_max_distance": 12,
    "n_positions": 64,
    "pad_token_id": 2,
    "decoder_start_token_id": 2,
    "eos_token_id": 1,
}
_BART: dict[str, Any] = {
    **_SPECIAL,
    "vocab_size": 384,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 1,
}

ENCODER_DECODER_CONFIGS: dict[str, PreTrainedConfig] = {
    "t5": T5Config(**_T5),
    "t5-gated": T5Config(**_T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),  # T5 1.1, Flan-T5
    "mt5": MT5Config(**_T5, feed_forward_proj="gated-gelu"),
    "bart": BartConfig(**_BART),
    "mbart": MBartConfig(**_BART, scale_embedding=True),
}

ENCODER_DECODER_FAMILIES = tuple(ENCODER_DECODER_CONFIGS)

ALL_FAMILIES = FAMILIES + MASKED_FAMILIES + ENCODER_DECODER_FAMILIES

KINDS: dict[str, ModelKind] = {
    **dict.fromkeys(FAMILIES, ModelKind.CAUSAL),
    **dict.fromkeys(MASKED_FAMILIES, ModelKind.MASKED),
    **dict.fromkeys(ENCODER_DECODER_FAMILIES, ModelKind.ENCODER_DECODER),
}

#: Families whose tokenizer adds a BOS to every text, as the real tokenizers do.
WITH_BOS = ("llama", *MASKED_FAMILIES, "bart")

_AUTO = (
    (CONFIGS, AutoModelForCausalLM),
    (MASKED_CONFIGS, AutoModelForMaskedLM),
    (ENCODER_DECODER_CONFIGS, AutoModelForSeq2SeqLM),
)


def template_for(family: str) -> str:
    """Return a template for reviews that suits the family's kind."""
    return "{text} so [MASK] ." if family in MASKED_FAMILIES else "{text}\nLabel:"


def tiny_model(family: str, seed: int = 0) -> FrozenModel:
    """Make a new model of the family, with random weights from the seed."""
    torch.manual_seed(seed)
    configs, auto = next((configs, auto) for configs, auto in _AUTO if family in configs)
    network = auto.from_config(configs[family], dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name == "final_logits_bias":  # zero in most BART checkpoints
                buffer.normal_(std=0.25)
    tokenizer = tiny_tokenizer_for(family)
    if network.can_generate():
        network.generation_config.eos_token_id = (
            tokenizer.eos_token_id
        )  # the default of the family is an arbitrary token here
    return freeze_network(network, tokenizer, f"tiny-{family}-{seed}")


def ending_at(family: str, *eos_token_ids: int) -> FrozenModel:
    """Make a tiny model whose generation configuration has these EOS tokens besides the tokenizer's."""
    model = tiny_model(family)
    model.network.generation_config.eos_token_id = [1, *eos_token_ids]
    return freeze_network(model.network, model.tokenizer, model.name)


def tiny_tokenizer_for(family: str) -> PreTrainedTokenizerFast:
    """Make the tokenizer that suits the family."""
    if family in MASKED_FAMILIES:
        return tiny_masked_tokenizer()
    return tiny_tokenizer(bos=family in WITH_BOS, eos=family in ENCODER_DECODER_FAMILIES)


@cache
def shared_model(family: str) -> FrozenModel:
    """Return a shared model, which no test may change."""
    return tiny_model(family)


@cache
def tiny_tokenizer(bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """Make a byte-pair tokenizer with a few whole words, which adds BOS and EOS to a text if requested."""
    tokenizer = _trained([BOS, EOS, PAD])
    if bos or eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join([BOS] * bos + ["$A"] + [EOS] * eos), special_tokens=[(BOS, 0), (EOS, 1)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)


@cache
def tiny_masked_tokenizer() -> PreTrainedTokenizerFast:
    """Make a byte-pair tokenizer with CLS, SEP and a mask."""
    tokenizer = _trained([CLS, SEP, PAD, MASK])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", special_tokens=[(CLS, 0), (SEP, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=CLS, sep_token=SEP, pad_token=PAD, mask_token=MASK
    )


def _trained(special_tokens: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS, f" {WORDS}"] * 3, trainer)
    return tokenizer
