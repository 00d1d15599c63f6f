"""What a new vLLM must pass before the plugin goes with it. `make test-vllm` runs it, in vLLM's own environment."""
