"""Simultaneous processes and threads: version numbers are unique, writers wait, and versions are not mixed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.registry.conftest import Home
from tests.registry.factories import AT_ONCE, check_nothing_left_over, check_whole, several
from tests.warm import exit_code

EACH = 12


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child


def adding(home: Home, saved: list[SavedPrompt], own: str) -> None:
    """Made, if it is not there; then versions of a name that others add to as well, and of one's own."""
    with home.open(create=True) as store:
        for i in range(EACH):
            store.register_prompt(saved[i % len(saved)], "shared", actor=own)
            store.register_prompt(saved[i % len(saved)], "own", tenant=own, activate=False)
            store.remove_versions("own", tenant=own)


def collecting(home: Home) -> None:
    with home.open(create=True) as store:
        for _ in range(3 * EACH):
            store.collect_garbage(AT_ONCE)


def processes(home: Home) -> None:
    """Run by itself, in a process with one thread: it forks."""
    saved = several(3)
    works = [lambda: adding(home, saved, "acme"), lambda: adding(home, saved, "bolt"), lambda: collecting(home)]
    for child in [forked(work) for work in works]:
        assert os.waitpid(child, 0)[1] == 0
    with home.open() as store:
        [shared] = store.list_prompts()
        assert [version.number for version in shared.versions] == list(range(1, 2 * EACH + 1))
        assert sorted(version.created_by for version in shared.versions) == ["acme"] * EACH + ["bolt"] * EACH
        check_whole(store)
        check_nothing_left_over(store)


def test_versions_stay_consecutive_while_processes_add_and_collect_simultaneously(home: Home) -> None:
    assert exit_code(processes, home) == 0


def test_a_version_resolved_during_swaps_is_read_completely(store: PromptRegistry, saved: list[SavedPrompt]) -> None:
    """A thread that resolves a name gets one of its versions, and reads exactly that one."""
    by_number = {store.register_prompt(each, "reviews").number: each for each in saved[:3]}

    def swap(start: int) -> None:
        for i in range(start, start + 20):
            store.activate_version(f"reviews@{i % 3 + 1}")

    def read(_: int) -> None:
        for _ in range(20):
            version = store.resolve_version("reviews")
            assert store.load_prompt(version).files == by_number[version.number].files

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(work, i) for i in range(3) for work in (swap, read)]:
            done.result()
    check_whole(store)
