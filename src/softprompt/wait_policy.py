"""How long the threads that torch divides a call among stay awake for the next call, which burns their cores.

By default GNU's OpenMP library lets them spin for some milliseconds and LLVM's for 200. Two runs on one machine then
spend most of their time in each other's way. Threads that sleep at once
are woken anew for every call, which a model that writes token by token feels. So they spin for about a tenth of a
millisecond: longer than from one call of a step to the next, and shorter than another run waits for a core.
`benchmarks/two_runs.py` compares the settings.

It must be said before torch is imported: the library reads the environment once, when it is loaded. Knows no torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

#: What says how threads wait: of the standard, of GNU's library, of Intel's and LLVM's. Any is the user's own choice.
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SHORT_WAIT = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}  # turns of a loop; milliseconds


def choose_wait_policy() -> None:
    """Let the threads of this process, and of those that it starts, spin for a short time only while they wait.

    Nothing is changed where the user has chosen, and where torch is imported already: then it is too late here, and
    whoever imported it first, such as vLLM, has settings of its own.
    """
    if "torch" not in sys.modules:
        os.environ.update(wait_policy(os.environ))


def wait_policy(environment: Mapping[str, str]) -> Mapping[str, str]:
    """What a new process needs beside `environment`; nothing where that says already how threads wait."""
    return {} if any(name in environment for name in CHOICES) else SHORT_WAIT
