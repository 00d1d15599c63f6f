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

from softprompt.errors import NoPreviousVersion
from softprompt.registry import ApiKeyScope, PromptRegistry
from softprompt.server.api.generation_service import RequestInputs, start_generations
from softprompt.server.app_state import AppState
from softprompt.server.auth.principal import Principal
from softprompt.server.backends.loaded_prompt import OVERHEAD_BYTES, LoadedPrompt
from softprompt.server.generation.generation_group import GenerationGroup
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.schemas.completion_schemas import CompletionRequest
from softprompt.server.server_config import ServerConfig
from tests.server.live_server import ANSWERS, prompt_for
from tests.tiny import shared_model

TENANTS, VERSIONS = ("acme", "bolt"), (1, 2, 3)
TEXTS = ("the film", "the film was great fun and its ending lovely", "the film was great fun and its ending awful")

#: Actions of tenants, and the number of engine steps before the next action.
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
    """Response: the version that gave it, its tokens, and their probabilities."""

    model: str
    tokens: tuple[int | None, ...]
    logprobs: tuple[float, ...]


@dataclass
class Served:
    """State of a server with a registry in which two tenants have three versions each of a prompt of one name."""

    parts: AppState
    loop: asyncio.Runner
    alone: dict[tuple[str, int, str], Said]

    def turn(self, tenant: str, what: str, number: int) -> None:
        """Point an alias to a version; a rollback without a previous version changes nothing."""
        store = self.parts.registry
        if what == "roll back":
            with suppress(NoPreviousVersion):
                store.roll_back_alias("reviews", tenant=tenant)
        else:
            store.activate_version(f"reviews@{number}", alias="canary" if what == "canary" else "active", tenant=tenant)

    def meant(self, tenant: str) -> int:
        """Return the version that the name of the tenant's prompt refers to."""
        return self.parts.registry.resolve_version("reviews", tenant=tenant).number


async def ask(parts: AppState, tenant: str, model: str, text: str) -> Said:
    asked = CompletionRequest.model_validate(
        {"model": model, "prompt": text, "max_tokens": 6, "temperature": 0, "logprobs": 5, "ignore_eos": True}
    )
    caller = Principal(tenant, ApiKeyScope.USE)

    def read(loaded_prompt: LoadedPrompt | None, _: int) -> TokenizedPrompt:
        return parts.prompt_renderer.render_completion(loaded_prompt, text, None)

    return await heard(await start_generations(parts, caller, asked, RequestInputs([text], ["prompt"], read)))


async def heard(responses: GenerationGroup) -> Said:
    with responses:
        written = [piece.token_output async for piece in responses.iter_chunks()]
    values = [value for each in written for value in (each.logprob, *(value for _, value in each.top_logprobs))]
    return Said(
        responses.model_name, tuple(each.token_id for each in written), tuple(v for v in values if v is not None)
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = shared_model("llama")
    settings = ServerConfig(
        auth_enabled=False,
        max_num_seqs=3,
        max_model_len=128,
        max_num_batched_tokens=9,
        prompt_cache_bytes=3 * OVERHEAD_BYTES,
    )  # the cache holds half of the prompts
    folder = tmp_path_factory.mktemp("swaps") / "store"
    with PromptRegistry.open(folder, create=True) as store, asyncio.Runner() as loop:
        parts = AppState.from_config(settings, model, store)
        for seed, (tenant, _) in enumerate((t, v) for t in TENANTS for v in VERSIONS):
            store.register_prompt(prompt_for(model, ANSWERS, seed), "reviews", tenant=tenant)
        loop.run(started(parts))
        alone = {
            (tenant, number, text): loop.run(ask(parts, tenant, f"reviews@{number}", text))
            for tenant in TENANTS
            for number in VERSIONS
            for text in TEXTS
        }
        yield Served(parts, loop, alone)
        loop.run(parts.backend.stop())
        parts.prompt_renderer.close()
        parts.response_builder.close()
        parts.grammar_compiler.close()


async def started(parts: AppState) -> None:
    await parts.backend.start()


def test_the_versions_of_all_tenants_give_different_responses(served: Served) -> None:
    """Otherwise the law below would hold for a server that mixes them."""
    for text in TEXTS:
        answers = {served.alone[tenant, number, text].tokens for tenant in TENANTS for number in VERSIONS}
        assert len(answers) == len(TENANTS) * len(VERSIONS)


# What checks types in the server's threads draws its samples from `random`, while the next example is drawn here.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@given(happenings=happenings)
def test_each_response_comes_from_the_version_that_was_active_at_its_request(served: Served, happenings: Any) -> None:
    async def happen() -> list[tuple[str, str, set[int], Said]]:
        begun = []
        for tenant, what, number, text, steps in happenings:
            if what == "ask":
                meant = {served.meant(tenant)}
                begun.append((tenant, text, meant, asyncio.create_task(ask(served.parts, tenant, "reviews", text))))
            else:
                # Pending requests may resolve to the version before or after this: both are right.
                await asyncio.to_thread(served.turn, tenant, what, number)
                for whose, _, meant, task in begun:
                    if whose == tenant and not task.done():
                        meant.add(served.meant(tenant))
            for _ in range(steps):
                await served.parts.backend.worker.run_job(tenant, lambda: None)  # comes between two steps of the model
        return [(tenant, text, meant, await task) for tenant, text, meant, task in begun]

    for tenant, text, meant, said in served.loop.run(happen()):
        number = int(said.model.removeprefix("reviews@"))
        assert number in meant
        expected = served.alone[tenant, number, text]
        assert said.tokens == expected.tokens
        assert said.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
