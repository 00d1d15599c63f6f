"""All parts together: two tenants upload, use and swap prompts over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx2
import openai
import pytest

from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from tests.server.live_server import ANSWERS, BASE, Running, prompt_for, running


def bring(server: Running, key: str, model: FrozenModel, seed: int) -> httpx2.Response:
    files = [("file", (name, content)) for name, content in prompt_for(model, ANSWERS, seed).files.items()]
    headers = {"authorization": f"Bearer {key}"}
    return httpx2.post(f"{server.url}/v1/prompts", data={"name": "mine"}, files=files, headers=headers, timeout=60)


def ask(client: openai.OpenAI) -> tuple[str, str | None]:
    answer = client.chat.completions.create(
        model="mine", messages=[{"role": "user", "content": "tea"}], max_tokens=5, temperature=0
    )
    return answer.model, answer.choices[0].message.content


def test_two_tenants_upload_use_and_swap_prompts_separately(tmp_path: Path, chatting: FrozenModel) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        acme, other = (store.api_keys.create_key(tenant, "manage")[1] for tenant in ("acme", "other"))
        admin = store.api_keys.create_key("ops", "admin")[1]
    with running(tmp_path / "store", chatting, auth_enabled=True) as server:
        assert bring(server, acme, chatting, 0).status_code == 201
        assert bring(server, other, chatting, 1).status_code == 201
        with server.client(acme) as client, server.client(other) as others:
            first, foreign = ask(client), ask(others)
            assert first[0] == foreign[0] == "mine@1"
            assert first[1] != foreign[1]
            assert bring(server, acme, chatting, 1).status_code == 201
            assert ask(client) == ("mine@2", foreign[1])
            assert ask(others) == foreign
            assert [model.id for model in client.models.list()] == [BASE, "mine"]
        with server.client("sp-none") as nobody:
            for call in (nobody.models.list, lambda: ask(nobody)):
                with pytest.raises(openai.AuthenticationError):
                    call()
        counted = httpx2.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {admin}"}).text
        for line in (
            'softprompt_tokens_total{tenant="acme",type="completion"}',
            "softprompt_prompt_version_changes_total 1.0",
        ):
            assert line in counted
        assert 'softprompt_prompt_cache_lookups_total{result="miss"} 2.0' in counted  # what is the same is there once
        assert httpx2.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {acme}"}).status_code == 403
        for place in ("/health", "/ready"):
            assert server.get(place).status_code == 200
