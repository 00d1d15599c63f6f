"""Threads that wait spin for a short time only, unless somebody has chosen otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from softprompt.comparison.apart import worker_environment
from softprompt.wait_policy import CHOICES, SHORT_SPIN, SLEEP, choose_wait_policy, wait_policy


def choices_after(code: str, **more: str) -> dict[str, str]:
    """What a new process has chosen after some code, by the environment of a process that it starts."""
    shown = "print('torch' in sys.modules, *(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"
    code = f"import softprompt, os, sys; {code}; {shown}"
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    ran = subprocess.run([sys.executable, "-c", code], env=kept | more, capture_output=True, text=True, check=True)
    has_torch, *lines = ran.stdout.splitlines()
    assert has_torch == "False"
    named = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: named[name] for name in CHOICES if name in named}


def test_threads_sleep_where_a_run_trains() -> None:
    assert wait_policy({"PATH": "/bin"}) == SLEEP


@pytest.mark.parametrize("name", CHOICES)
def test_the_users_own_choice_stays(name: str) -> None:
    assert wait_policy({name: "0"}) == {}


def test_the_import_of_softprompt_chooses_before_torch_is_there() -> None:
    assert choices_after("pass") == SLEEP


WRITES = "from softprompt.wait_policy import *; choose_wait_policy(SHORT_SPIN)"


def test_a_command_that_writes_replaces_what_the_import_chose() -> None:
    assert choices_after(WRITES) == SHORT_SPIN


@pytest.mark.parametrize("policy", ["PASSIVE", "ACTIVE"])
def test_a_command_that_writes_keeps_what_the_user_chose(policy: str) -> None:
    assert choices_after(WRITES, OMP_WAIT_POLICY=policy) == {"OMP_WAIT_POLICY": policy}


@pytest.mark.parametrize("command", [["serve", "--model", "none"], ["generate", "none", "--prompt", "tea"]])
def test_serve_and_generate_choose_a_short_spin(command: list[str]) -> None:
    code = f"from softprompt.cli.main import run; run({command!r})"
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    code = f"import os\ntry:\n  {code}\nexcept BaseException: pass\nprint(os.environ['GOMP_SPINCOUNT'])"
    ran = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert ran.stdout.split()[-1] == SHORT_SPIN["GOMP_SPINCOUNT"]


def test_another_program_is_started_with_the_users_environment() -> None:
    code = "from softprompt.wait_policy import *; env = without_own_choice(os.environ)"
    code += "; os.environ.clear(); os.environ.update(env)"
    assert choices_after(code) == {}
    assert choices_after(code, KMP_BLOCKTIME="3") == {"KMP_BLOCKTIME": "3"}


def test_a_process_that_has_torch_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    choose_wait_policy()  # torch is imported in the tests
    assert not set(CHOICES) & os.environ.keys()


def test_the_workers_of_a_comparison_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    assert SLEEP.items() <= worker_environment().items()
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert worker_environment()["OMP_WAIT_POLICY"] == "ACTIVE"
