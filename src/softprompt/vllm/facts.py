"""vLLM's configuration, as far as the plugin depends on it, in the plugin's own words."""

from __future__ import annotations

from typing import Any

from softprompt.vllm.base import Base, fingerprint_of
from softprompt.vllm.requirements import Facts
from softprompt.vllm.settings import Settings


def facts_of(config: Any, cache: Any) -> Facts:
    """What there is to be checked of a `VllmConfig` and a `KVCacheConfig`."""
    specs = [group.kv_cache_spec for group in cache.kv_cache_groups]
    limited = [each for each in specs if _window(each) is not None]
    return Facts(
        attention=tuple(type(each).__name__ for each in specs),
        windows=len(limited),
        block_size=specs[0].block_size if specs else config.cache_config.block_size,
        hashed=cache.hash_block_size,
        cache_dtype=str(config.cache_config.cache_dtype),
        model=_model(config.model_config),
        running=_running(config),
        failure_policy=config.kv_transfer_config.kv_load_failure_policy,
        role=config.kv_transfer_config.kv_role,
    )


def settings_of(config: Any) -> Settings:
    """The operator's settings."""
    return Settings.read(config.kv_transfer_config.kv_connector_extra_config)


def base_of(config: Any, settings: Settings) -> Base:
    """The model that runs.

    Raises:
        SettingError: its files do not tell its fingerprint, and nobody said it.
    """
    model = config.model_config
    fingerprint = settings.fingerprint or fingerprint_of(
        model.model, model.revision, getattr(config.load_config, "download_dir", None)
    )
    return Base(
        model.model,
        fingerprint,
        num_layers=model.get_total_num_hidden_layers(),
        num_kv_heads=model.get_total_num_kv_heads(),
        head_dim=model.get_head_size(),
    )


def _window(spec: Any) -> int | None:
    window: int | None = getattr(spec, "sliding_window", None) or getattr(spec, "attention_chunk_size", None)
    return window


def _model(model: Any) -> tuple[str, ...]:
    special = {
        "compressed keys and values (MLA)": model.use_mla,
        "states beside its attention (hybrid)": model.is_hybrid,
        "no attention": model.is_attention_free,
        "an encoder": model.is_encoder_decoder,
        "images or sounds in its positions": model.uses_mrope,
        "a pooler": model.runner_type != "generate",
        "a sliding window": not model.disable_sliding_window and model.get_sliding_window() is not None,
    }
    return tuple(name for name, it_is in special.items() if it_is)


def _running(config: Any) -> tuple[str, ...]:
    parallel = config.parallel_config
    special = {
        "speculative decoding": config.speculative_config is not None,
        "--pipeline-parallel-size": parallel.pipeline_parallel_size > 1,
        "--decode-context-parallel-size": parallel.decode_context_parallel_size > 1,
        "--prefill-context-parallel-size": parallel.prefill_context_parallel_size > 1,
    }
    return tuple(name for name, it_is in special.items() if it_is)
