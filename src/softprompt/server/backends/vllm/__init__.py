"""The backend without weights: vLLM replicas run the model (docs/gateway.md)."""

from softprompt.server.backends.vllm.vllm_backend import VllmBackend

__all__ = ["VllmBackend"]
