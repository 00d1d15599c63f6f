"""How vLLM runs here. Set before it is imported."""

from __future__ import annotations

import os

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "WARNING",
    # The engine is in the tests' own process, so that they can look at it. test_served.py starts it as operators do.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
