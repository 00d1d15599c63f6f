"""Law 10: a swap is atomic: a request finishes on the version it began with.

No request sees a mixture, or another tenant's state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.errors import NothingBefore
from softprompt.server.caller import Caller
from softprompt.server.desk import Asked
from softprompt.server.parts import Chosen, Parts
from softprompt.server.protocol.completions import CompletionRequest
from softprompt.server.settings import ServerSettings
from softprompt.server.shelved import OBJECTS
from softprompt.server.writing import Answer, begin
from softprompt.store import Scope, Store
from tests.server.running import ANSWERS, prompt_for
from tests.tiny import shared_model

TENANTS, VERSIONS = ("acme", "bolt"), (1, 2, 3)
TEXTS = ("the film", "the film was great fun and its ending lovely", "the film was great fun and its ending awful")

#: Who does what, and for how many steps the others go on before the next does something.
happenings = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(("ask", "ask", "swap", "roll back", "canary")),
        st.sampled_from(VERSIONS),
        st.sampled_from(TEXTS),
        st.integers(0, 3),
    ),
    min_size=6,
    max_size=24,
)


@dataclass(frozen=True)
class Said:
    """An answer: the version that gave it, its tokens, and how probable each was."""

    model: str
    tokens: tuple[int | None, ...]
    logprobs: tuple[float, ...]


@dataclass
class Served:
    """A server's parts around a store in which two tenants have three versions each of a prompt of the same name."""

    parts: Parts
    loop: asyncio.Runner
    alone: dict[tuple[str, int, str], Said]

    def turn(self, tenant: str, what: str, number: int) -> None:
        """Point an alias to a version; what cannot be rolled back stays."""
        store = self.parts.store
        if what == "roll back":
            with suppress(NothingBefore):
                store.roll_back("reviews", tenant=tenant)
        else:
            store.activate(f"reviews@{number}", alias="canary" if what == "canary" else "active", tenant=tenant)

    def meant(self, tenant: str) -> int:
        """The version that the tenant's prompt means now."""
        return self.parts.store.resolve("reviews", tenant=tenant).number


async def ask(parts: Parts, tenant: str, model: str, text: str) -> Said:
    asked = CompletionRequest.model_validate(
        {"model": model, "prompt": text, "max_tokens": 6, "temperature": 0, "logprobs": 5, "ignore_eos": True}
    )
    caller = Caller(tenant, Scope.USE)

    def read(chosen: Chosen, _: int) -> Asked:
        return parts.desk.text(chosen.shelved, text, None)

    answer = await begin(parts, caller, asked, "cmpl", ["prompt"], [text], read)
    return await heard(answer)


async def heard(answer: Answer) -> Said:
    with answer.responses as responses:
        written = [piece.written async for piece in responses.pieces()]
    values = [value for each in written for value in (each.logprob, *(value for _, value in each.alternatives))]
    return Said(answer.model, tuple(each.token for each in written), tuple(v for v in values if v is not None))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = shared_model("llama")
    settings = ServerSettings(keys=False, slots=3, length=128, tokens=9, prompt_memory=3 * OBJECTS)  # half of them stay
    folder = tmp_path_factory.mktemp("swaps") / "store"
    with Store.open(folder, create=True) as store, asyncio.Runner() as loop:
        parts = Parts.of(settings, model, store)
        for seed, (tenant, _) in enumerate((t, v) for t in TENANTS for v in VERSIONS):
            store.add(prompt_for(model, ANSWERS, seed), "reviews", tenant=tenant)
        loop.run(started(parts))
        alone = {
            (tenant, number, text): loop.run(ask(parts, tenant, f"reviews@{number}", text))
            for tenant in TENANTS
            for number in VERSIONS
            for text in TEXTS
        }
        yield Served(parts, loop, alone)
        loop.run(parts.backend.stop())
        parts.desk.close()
        parts.builder.close()
        parts.grammars.close()


async def started(parts: Parts) -> None:
    await parts.backend.start()


def test_versions_and_tenants_answer_differently(served: Served) -> None:
    """Else the law below would hold for a server that mixes them."""
    for text in TEXTS:
        answers = {served.alone[tenant, number, text].tokens for tenant in TENANTS for number in VERSIONS}
        assert len(answers) == len(TENANTS) * len(VERSIONS)


# What checks types in the server's threads draws its samples from `random`, while the next example is drawn here.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@given(happenings=happenings)
def test_each_answer_is_of_the_version_that_was_meant_when_it_was_asked(served: Served, happenings: Any) -> None:
    async def happen() -> list[tuple[str, str, set[int], Said]]:
        begun = []
        for tenant, what, number, text, steps in happenings:
            if what == "ask":
                meant = {served.meant(tenant)}
                begun.append((tenant, text, meant, asyncio.create_task(ask(served.parts, tenant, "reviews", text))))
            else:
                # Who asked already may be resolved before this or after it: both are right.
                await asyncio.to_thread(served.turn, tenant, what, number)
                for whose, _, meant, task in begun:
                    if whose == tenant and not task.done():
                        meant.add(served.meant(tenant))
            for _ in range(steps):
                await served.parts.backend.worker.run(tenant, lambda: None)  # comes between two steps of the model
        return [(tenant, text, meant, await task) for tenant, text, meant, task in begun]

    for tenant, text, meant, said in served.loop.run(happen()):
        number = int(said.model.removeprefix("reviews@"))
        assert number in meant
        expected = served.alone[tenant, number, text]
        assert said.tokens == expected.tokens
        assert said.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
