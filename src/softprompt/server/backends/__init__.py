"""Inference backends: the engine in this process, and vLLM replicas."""
