"""After a kill at any moment, the registry opens in a consistent state with every change that had returned.

Run by itself, in a process with one thread: it forks. A child kills itself at the n-th moment that matters: before a
file or folder is made, written, flushed, renamed or deleted, and before each write and commit in the database. Its
successor goes on with what it left.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from tests.registry.factories import AT_ONCE, check_nothing_left_over, check_whole, several
from tests.warm import exit_code

AUDITED = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect")


class Moments:
    """Those that matter, counted from 1; at the n-th the process is no more."""

    def __init__(self, folder: Path, n: int):
        self.folder, self.n, self.count = str(folder), n, 0

    def come(self, *_: Any) -> None:
        self.count += 1
        if self.count == self.n:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Count them from now on. There is no way back."""
        sys.addaudithook(self._audited)
        flush = os.fsync
        os.fsync = lambda number: (self.come(), flush(number))[1]  # type: ignore[assignment]
        event.listen(Engine, "before_cursor_execute", self._executed)
        event.listen(Engine, "commit", self.come)

    def _executed(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith(("SELECT", "PRAGMA", "BEGIN")):
            self.come()

    def _audited(self, name: str, arguments: tuple[Any, ...]) -> None:
        written = name == "open" and "w" in str(arguments[1])
        if (written or name in AUDITED) and str(arguments[0]).startswith(self.folder):
            self.come()


def in_a_child(work: Callable[[Callable[[str], None]], None]) -> tuple[bool, list[str]]:
    """Do it in another process. Whether it was killed, and the words that it said before."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(lambda word: os.write(writing, f"{word}\n".encode()) and None)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as said:
        words = said.read().split()
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), "it failed"
    return status == signal.SIGKILL, words


def change(store: PromptRegistry, saved: list[SavedPrompt], round_: int, say: Callable[[str], None]) -> None:
    """One of each change there is; of some it says that they are done."""
    store.register_prompt(saved[round_ % 3], "a")
    version = store.register_prompt(saved[(round_ + 1) % 3], "a", note="x" * 1000)
    say(f"add:{version}")
    store.register_prompt(saved[(round_ + 2) % 3], "b", tenant="acme", activate=False)
    store.activate_version(str(version), alias="canary")
    say(f"rollback:{store.roll_back_alias('a')}")
    store.remove_versions("b", tenant="acme")
    say(f"deactivate:{store.deactivate_alias('a@canary')}")
    store.remove_versions(str(version))
    say(f"remove:{version}")
    store.collect_garbage(AT_ONCE)
    say("all")


def kill_while_it_is_made(folder: Path) -> None:
    for n in itertools.count(1):
        path = folder / str(n)

        def make(_: Callable[[str], None], n: int = n, path: Path = path) -> None:
            Moments(path, n).watch()
            PromptRegistry.open(path, create=True).close()

        killed, _ = in_a_child(make)
        with PromptRegistry.open(path, create=True) as store:
            check_whole(store)
        shutil.rmtree(path)
        if not killed:
            break
    assert n > 10


def kill_at_each_moment(path: Path, saved: list[SavedPrompt]) -> None:
    PromptRegistry.open(path, create=True).close()
    for n in itertools.count(1):

        def work(say: Callable[[str], None], n: int = n) -> None:
            Moments(path, n).watch()
            with PromptRegistry.open(path) as store:
                change(store, saved, n, say)

        killed, words = in_a_child(work)
        check(path, words)
        if not killed:
            assert words[-1:] == ["all"]
            break
    assert n > 40


def kill_at_any_time(path: Path, saved: list[SavedPrompt], times: int) -> None:
    """At its word, so that it is hit in the middle of what it does next, in SQLite's own code too."""
    for round_ in range(times):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with os.fdopen(writing, "w", buffering=1) as said, PromptRegistry.open(path) as store:
                for each in itertools.count():
                    change(store, saved, each, lambda word: print(word, file=said))
        os.close(writing)
        with os.fdopen(reading) as said:
            words = [said.readline().strip() for _ in range(random.Random(round_).randrange(1, 4))]
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        check(path, words)


def check(path: Path, words: list[str]) -> None:
    with PromptRegistry.open(path) as store:
        check_whole(store)
        done = {f"{event.action}:{event.prompt}@{event.version}" for event in store.list_events()}
        assert set(words) <= {*done, "all"}
        clear(store)


def clear(store: PromptRegistry) -> None:
    """Remove all there is, so that every child begins alike. Folders and what was half done stay."""
    for prompt in store.list_prompts():
        for alias in prompt.aliases:
            store.deactivate_alias(f"{prompt.name}@{alias}", tenant=prompt.tenant)
        store.remove_versions(prompt.name, tenant=prompt.tenant)


def kill(folder: Path) -> None:
    saved = several(3)
    kill_while_it_is_made(folder / "made")
    kill_at_each_moment(folder / "store", saved)
    assert any(
        name.startswith(".") for name in (path.name for path in (folder / "store" / "prompts").iterdir())
    )  # some were killed in the middle of it
    kill_at_any_time(folder / "store", saved, times=10)
    with PromptRegistry.open(folder / "store") as store:
        check_nothing_left_over(store)
        check_whole(store)


def test_a_registry_is_consistent_after_a_kill_at_any_moment(tmp_path: Path) -> None:
    assert exit_code(kill, tmp_path) == 0
