"""Reads the parts of vLLM's configuration that the plugin needs."""

from __future__ import annotations

from typing import Any

from softprompt.vllm.compatibility import EngineFacts
from softprompt.vllm.served_model import ServedModel, resolve_model_fingerprint
from softprompt.vllm_protocol import PluginConfig


def read_engine_facts(vllm_config: Any, kv_cache_config: Any) -> EngineFacts:
    """Collect the facts to check from a `VllmConfig` and a `KVCacheConfig`."""
    specs = [group.kv_cache_spec for group in kv_cache_config.kv_cache_groups]
    windowed = [spec for spec in specs if _get_attention_window(spec) is not None]
    return EngineFacts(
        attention_specs=tuple(type(spec).__name__ for spec in specs),
        num_windowed_groups=len(windowed),
        block_size=specs[0].block_size if specs else vllm_config.cache_config.block_size,
        hash_block_size=kv_cache_config.hash_block_size,
        cache_dtype=str(vllm_config.cache_config.cache_dtype),
        unsupported_model_features=_find_unsupported_model_features(vllm_config.model_config),
        unsupported_options=_find_unsupported_options(vllm_config),
        kv_load_failure_policy=vllm_config.kv_transfer_config.kv_load_failure_policy,
        kv_role=vllm_config.kv_transfer_config.kv_role,
    )


def read_plugin_config(vllm_config: Any) -> PluginConfig:
    """Read the plugin's settings."""
    return PluginConfig.from_extra_config(vllm_config.kv_transfer_config.kv_connector_extra_config)


def read_position_bytes(kv_cache_config: Any) -> int:
    """Read the size of a position's keys and values in a worker, all layers together, in bytes."""
    group = kv_cache_config.kv_cache_groups[0]
    spec = group.kv_cache_spec
    return int(2 * len(group.layer_names) * spec.num_kv_heads * spec.head_size * spec.dtype.itemsize)


def read_served_model(vllm_config: Any, plugin_config: PluginConfig) -> ServedModel:
    """Read the properties of the running model.

    Raises:
        SettingError: neither the settings nor the model's files have its fingerprint.
    """
    model = vllm_config.model_config
    fingerprint = plugin_config.fingerprint or resolve_model_fingerprint(
        model.model, model.revision, getattr(vllm_config.load_config, "download_dir", None)
    )
    return ServedModel(
        model.model,
        fingerprint,
        num_layers=model.get_total_num_hidden_layers(),
        num_kv_heads=model.get_total_num_kv_heads(),
        head_dim=model.get_head_size(),
    )


def _get_attention_window(spec: Any) -> int | None:
    window: int | None = getattr(spec, "sliding_window", None) or getattr(spec, "attention_chunk_size", None)
    return window


def _find_unsupported_model_features(model_config: Any) -> tuple[str, ...]:
    features = {
        "compressed keys and values (MLA)": model_config.use_mla,
        "recurrent state besides attention (hybrid)": model_config.is_hybrid,
        "no attention": model_config.is_attention_free,
        "an encoder": model_config.is_encoder_decoder,
        "positions of images or sounds": model_config.uses_mrope,
        "a pooler": model_config.runner_type != "generate",
        "a sliding window": not model_config.disable_sliding_window and model_config.get_sliding_window() is not None,
    }
    return tuple(name for name, is_present in features.items() if is_present)


def _find_unsupported_options(vllm_config: Any) -> tuple[str, ...]:
    parallel = vllm_config.parallel_config
    options = {
        "speculative decoding": vllm_config.speculative_config is not None,
        "--pipeline-parallel-size": parallel.pipeline_parallel_size > 1,
        "--decode-context-parallel-size": parallel.decode_context_parallel_size > 1,
        "--prefill-context-parallel-size": parallel.prefill_context_parallel_size > 1,
    }
    return tuple(name for name, is_used in options.items() if is_used)
