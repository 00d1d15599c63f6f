"""Wait policy of torch's threads: how long they spin for the next call, which occupies their cores.

By default GNU's OpenMP lets threads spin for some milliseconds and LLVM's for 200. Two runs on one machine then spend
most of their time in each other's way. Training loses nothing if threads sleep at once, so `import softprompt` sets
that. Generation, token by token, is slower if threads are woken for every call. So commands that generate let threads
spin for about a tenth of a millisecond. `benchmarks/openmp_wait.py` compares the settings.

The policy must be set before torch is imported: OpenMP reads the environment once, when it is loaded. Imports no torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

#: Environment variables of the OpenMP standard, of GNU's library, and of Intel's and LLVM's. The user may set any.
WAIT_POLICY_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SLEEP_ENV: Mapping[str, str] = {"OMP_WAIT_POLICY": "PASSIVE"}
SHORT_SPIN_ENV: Mapping[str, str] = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}  # loop iterations; milliseconds


#: Variables that this process set itself, not the user.
_own_choice: dict[str, str] = {}


def set_thread_wait_policy(policy: Mapping[str, str] = SLEEP_ENV) -> None:
    """Set how the threads of this process and its child processes wait.

    Nothing changes if the user has set a policy. Nothing changes either if torch is imported already: it is then too
    late, and the importing program, such as vLLM, has its own settings.

    Args:
        policy: environment variables of the policy; they replace an earlier policy of this function.
    """
    if "torch" in sys.modules:
        return
    user_env = remove_own_choice(os.environ)
    for name in os.environ.keys() - user_env.keys():
        del os.environ[name]
    _own_choice.clear()
    _own_choice.update(get_wait_policy_env(user_env, policy))
    os.environ.update(_own_choice)


def get_wait_policy_env(env: Mapping[str, str], policy: Mapping[str, str] = SLEEP_ENV) -> Mapping[str, str]:
    """Return the variables to add to the environment of a new process; none if `env` sets a policy already."""
    return {} if any(name in env for name in WAIT_POLICY_VARIABLES) else policy


def remove_own_choice(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as the user set it, for a program with its own wait policy."""
    return {name: value for name, value in environment.items() if _own_choice.get(name) != value}
