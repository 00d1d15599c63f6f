"""vLLM plugin for the prompts of a registry: it writes a KV prefix to the positions of a request's placeholders.

The format of requests is in `softprompt.vllm_protocol`. `request_rejection`, `compatibility`, `host_prefix_cache` and
`kv_layout` do not depend on vLLM. vLLM calls `plugin`, `request_validator`, `connector`, its two sides and
`connector_metrics`.
"""
