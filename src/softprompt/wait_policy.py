"""How long the threads that torch divides a call among stay awake for the next call, which burns their cores.

By default GNU's OpenMP library lets them spin for some milliseconds and LLVM's for 200. Two runs on one machine then
spend most of their time in each other's way. Training loses nothing when threads sleep at once, so that is the choice
of `import softprompt`. A model that writes token by token feels it when threads are woken for every call: commands
that write let them spin for about a tenth of a millisecond. `benchmarks/two_runs.py` compares the settings.

It must be said before torch is imported: the library reads the environment once, when it is loaded. Knows no torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

#: What says how threads wait: of the standard, of GNU's library, of Intel's and LLVM's. Any is the user's own choice.
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SLEEP: Mapping[str, str] = {"OMP_WAIT_POLICY": "PASSIVE"}
SHORT_SPIN: Mapping[str, str] = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}  # turns of a loop; milliseconds


#: What was chosen here and not by the user, in this process.
_own_choice: dict[str, str] = {}


def choose_wait_policy(policy: Mapping[str, str] = SLEEP) -> None:
    """Choose how the threads of this process, and of those that it starts, wait.

    Nothing is changed where the user has chosen, and where torch is imported already: then it is too late here, and
    whoever imported it first, such as vLLM, has settings of its own.

    Args:
        policy: replaces the one that was chosen here before.
    """
    if "torch" in sys.modules:
        return
    users = without_own_choice(os.environ)
    for name in os.environ.keys() - users.keys():
        del os.environ[name]
    _own_choice.clear()
    _own_choice.update(wait_policy(users, policy))
    os.environ.update(_own_choice)


def wait_policy(environment: Mapping[str, str], policy: Mapping[str, str] = SLEEP) -> Mapping[str, str]:
    """What a new process needs beside `environment`; nothing where that says already how threads wait."""
    return {} if any(name in environment for name in CHOICES) else policy


def without_own_choice(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment as the user set it, for a program that has its own idea of how threads wait."""
    return {name: value for name, value in environment.items() if _own_choice.get(name) != value}
