"""How vLLM runs here. Set before it is imported."""

from __future__ import annotations

import os
import sys

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "WARNING",
    # The engine is in the tests' own process, so that they can look at it. test_served.py starts it as operators do.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}

# Our own engine stands beside it in the same process. vLLM 0.32 does not start where llvmlite was loaded, which the
# engine's kernel brings, so the engine does without.
sys.modules["softprompt.engine.numba_attention"] = None  # type: ignore[assignment]
