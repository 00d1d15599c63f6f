"""Waiting threads spin for a short time only, unless the user chose another policy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from softprompt.comparison.runs.subprocess_runner import build_worker_environment
from softprompt.thread_wait_policy import (
    SHORT_SPIN_ENV,
    SLEEP_ENV,
    WAIT_POLICY_VARIABLES,
    get_wait_policy_env,
    set_thread_wait_policy,
)


def run_and_get_policy(code: str, **env: str) -> dict[str, str]:
    """Run code in a new process; return the policy variables that its child processes would inherit."""
    shown = "print('torch' in sys.modules, *(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    code = f"import softprompt, os, sys; {code}; {shown}"
    clean_env = {name: value for name, value in os.environ.items() if name not in WAIT_POLICY_VARIABLES}
    process = subprocess.run(
        [sys.executable, "-c", code], env=clean_env | env, capture_output=True, text=True, check=True
    )
    has_torch, *lines = process.stdout.splitlines()
    assert has_torch == "False"
    named = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: named[name] for name in WAIT_POLICY_VARIABLES if name in named}


def test_the_default_policy_is_sleep() -> None:
    assert get_wait_policy_env({"PATH": "/bin"}) == SLEEP_ENV


@pytest.mark.parametrize("name", WAIT_POLICY_VARIABLES)
def test_the_users_policy_is_not_replaced(name: str) -> None:
    assert get_wait_policy_env({name: "0"}) == {}


def test_importing_softprompt_sets_the_policy_before_torch_is_imported() -> None:
    assert run_and_get_policy("pass") == SLEEP_ENV


SET_SHORT_SPIN = "from softprompt.thread_wait_policy import *; set_thread_wait_policy(SHORT_SPIN_ENV)"


def test_setting_a_short_spin_replaces_the_default_policy() -> None:
    assert run_and_get_policy(SET_SHORT_SPIN) == SHORT_SPIN_ENV


@pytest.mark.parametrize("policy", ["PASSIVE", "ACTIVE"])
def test_setting_a_short_spin_does_not_replace_the_users_policy(policy: str) -> None:
    assert run_and_get_policy(SET_SHORT_SPIN, OMP_WAIT_POLICY=policy) == {"OMP_WAIT_POLICY": policy}


@pytest.mark.parametrize("command", [["serve", "--model", "none"], ["generate", "none", "--prompt", "tea"]])
def test_serve_and_generate_set_a_short_spin(command: list[str]) -> None:
    code = f"from softprompt.cli.main import run_cli; run_cli({command!r})"
    clean_env = {name: value for name, value in os.environ.items() if name not in WAIT_POLICY_VARIABLES}
    code = f"import os\ntry:\n  {code}\nexcept BaseException: pass\nprint(os.environ['GOMP_SPINCOUNT'])"
    process = subprocess.run([sys.executable, "-c", code], env=clean_env, capture_output=True, text=True, check=True)
    assert process.stdout.split()[-1] == SHORT_SPIN_ENV["GOMP_SPINCOUNT"]


def test_child_programs_inherit_the_users_policy_only() -> None:
    code = "from softprompt.thread_wait_policy import *; env = remove_own_choice(os.environ)"
    code += "; os.environ.clear(); os.environ.update(env)"
    assert run_and_get_policy(code) == {}
    assert run_and_get_policy(code, KMP_BLOCKTIME="3") == {"KMP_BLOCKTIME": "3"}


def test_no_policy_is_set_after_torch_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAIT_POLICY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    set_thread_wait_policy()  # torch is imported in the tests
    assert not set(WAIT_POLICY_VARIABLES) & os.environ.keys()


def test_comparison_workers_inherit_the_users_or_the_default_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAIT_POLICY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert SLEEP_ENV.items() <= build_worker_environment().items()
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert build_worker_environment()["OMP_WAIT_POLICY"] == "ACTIVE"
