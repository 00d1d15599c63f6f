"""Processes that share a PostgreSQL database and an artifact store see each other's changes, and none is lost.

Run by itself, in processes with one thread each: they fork.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from softprompt.registry.locations import resolve_artifact_store
from tests.registry.conftest import Home
from tests.registry.factories import check_nothing_left_over, check_whole, several
from tests.registry.test_crash_safety import change, clear, in_a_child
from tests.warm import exit_code

REQUESTS = ("_pipe_file", "_cp_file", "_rm_file", "_rm")


@contextmanager
def another(home: Home) -> Iterator[Callable[[str], str]]:
    """Another process with the store open, which answers what is asked: a reference's number, a key's owner."""
    asking, asked = os.pipe()
    answering, answered = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(asked)
        os.close(answering)
        with os.fdopen(asking) as questions, home.open() as store:
            for question in questions:
                text = question.strip()
                if text.startswith("sp-"):
                    key = store.api_keys.authenticate_secret(text)
                    answer = "none" if key is None else key.tenant
                else:
                    version = store.resolve_version(text)
                    answer = f"{version.number} {store.load_prompt(version).manifest.content_hash}"
                os.write(answered, f"{answer}\n".encode())
        os._exit(0)
    os.close(asking)
    os.close(answered)
    with os.fdopen(asked, "w", buffering=1) as questions, os.fdopen(answering) as answers:

        def ask(question: str) -> str:
            print(question, file=questions)
            return answers.readline().strip()

        yield ask
    assert os.waitpid(child, 0)[1] == 0


def swaps(home: Home) -> None:
    saved = several(2)
    with another(home) as ask, home.open() as store:
        hashes = [each.manifest.content_hash for each in saved]
        store.register_prompt(saved[0], "reviews")
        assert ask("reviews") == f"1 {hashes[0]}"
        store.register_prompt(saved[1], "reviews")
        assert ask("reviews") == f"2 {hashes[1]}"
        for _ in range(10):
            store.activate_version("reviews@1")
            assert ask("reviews") == f"1 {hashes[0]}"
            store.roll_back_alias("reviews")
            assert ask("reviews") == f"2 {hashes[1]}"
        key, text = store.api_keys.create_key("acme")
        assert ask(text) == "acme"
        store.api_keys.revoke_key(key.id)
        assert ask(text) == "none"


def test_another_process_sees_swaps_and_revoked_keys_at_its_next_request(shared: Home) -> None:
    shared.open(create=True).close()
    assert exit_code(swaps, shared) == 0


class Moments:
    """Before each write and commit in the database, and around each request to the place; at the n-th it is killed."""

    def __init__(self, n: int):
        self.n, self.count = n, 0

    def come(self, *_: Any) -> None:
        self.count += 1
        if self.count == self.n:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, place: str) -> None:
        """Count them from now on. There is no way back."""
        event.listen(Engine, "before_cursor_execute", self._executed)
        event.listen(Engine, "commit", self.come)
        kind: Any = type(resolve_artifact_store(place)._filesystem)  # type: ignore[attr-defined]
        for name in REQUESTS:
            setattr(kind, name, self._requested(getattr(kind, name)))
        kind.clear_instance_cache()  # those that are there have the methods that were

    def _executed(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith("SELECT"):
            self.come()

    def _requested(self, request: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*arguments: Any, **options: Any) -> Any:
            self.come()
            answer = await request(*arguments, **options)
            self.come()
            return answer

        return counted


def kill(home: Home) -> None:
    saved = several(3)
    for n in itertools.count(1, 3):  # every third moment: each takes a process of its own

        def work(say: Callable[[str], None], n: int = n) -> None:
            assert home.prompts is not None
            Moments(n).watch(home.prompts)
            with home.open(create=True) as store:
                change(store, saved, n, say)

        killed, words = in_a_child(work)
        if not killed:
            assert words[-1:] == ["all"]
            break
        with home.open(create=True) as store:
            check_whole(store)
            done = {f"{each.action}:{each.prompt}@{each.version}" for each in store.list_events()}
            assert set(words) <= {*done, "all"}
            clear(store)
    assert n > 40
    with home.open() as store:
        check_nothing_left_over(store)
        check_whole(store)


def test_a_shared_registry_is_consistent_after_a_kill_at_any_moment(shared: Home) -> None:
    assert exit_code(kill, shared) == 0
