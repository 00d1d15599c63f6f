"""Threads that wait spin for a short time only, unless somebody has chosen otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from softprompt.comparison.apart import worker_environment
from softprompt.wait_policy import CHOICES, SHORT_WAIT, choose_wait_policy, wait_policy


def test_threads_spin_for_a_short_time() -> None:
    assert wait_policy({"PATH": "/bin"}) == SHORT_WAIT


@pytest.mark.parametrize("name", CHOICES)
def test_the_users_own_choice_stays(name: str) -> None:
    assert wait_policy({name: "0"}) == {}


def test_the_import_of_softprompt_chooses_before_torch_is_there() -> None:
    code = "import softprompt, os, sys; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    ran = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", SHORT_WAIT["GOMP_SPINCOUNT"]]


def test_a_process_that_has_torch_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    choose_wait_policy()  # torch is imported in the tests
    assert "GOMP_SPINCOUNT" not in os.environ


def test_the_workers_of_a_comparison_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    assert SHORT_WAIT.items() <= worker_environment().items()
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "GOMP_SPINCOUNT" not in worker_environment()
