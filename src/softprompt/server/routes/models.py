"""`/v1/models`: what can be asked for as `model`: the base model, and the caller's own prompts."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from softprompt.server.caller import Asking
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.parts import Here, Parts
from softprompt.server.protocol.models import Model, ModelList
from softprompt.store import ACTIVE, StoredPrompt, Version

router = APIRouter(tags=["OpenAI"], route_class=KeyedRoute)


@router.get("/v1/models")
async def models(caller: Asking, parts: Here) -> ModelList:
    """The base model, the caller's prompts, and the aliases of these."""
    prompts = await asyncio.to_thread(parts.store.prompts, caller.tenant)
    own = [model for prompt in prompts for model in _named(prompt, parts.name)]
    return ModelList(data=[_base(parts), *own])


@router.get("/v1/models/{model:path}")
async def model(model: str, caller: Asking, parts: Here) -> Model:
    """The base model, or the version of a prompt that a name means now."""
    version = await parts.resolve(model, caller.tenant)
    return _base(parts) if version is None else _prompt(model, version, parts.name)


def _named(prompt: StoredPrompt, base: str) -> list[Model]:
    versions = {version.number: version for version in prompt.versions}
    names = {alias: prompt.name if alias == ACTIVE else f"{prompt.name}@{alias}" for alias in prompt.aliases}
    return [_prompt(name, versions[prompt.aliases[alias]], base) for alias, name in names.items()]


def _base(parts: Parts) -> Model:
    return Model(id=parts.name, created=parts.started, owned_by="softprompt")


def _prompt(name: str, version: Version, base: str) -> Model:
    created = int(version.created_at.timestamp())
    return Model(id=name, created=created, owned_by=version.tenant, parent=base, root=str(version), task=version.task)
