"""`/v1/models`: what can be asked for as `model`: the base model, and the caller's own prompts."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from softprompt.errors import SettingError
from softprompt.server.caller import Asking
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.parts import Here, Parts
from softprompt.server.protocol.lists import ListQuery
from softprompt.server.protocol.models import Model, ModelList
from softprompt.server.refusal import Refusal
from softprompt.store import ACTIVE, Alias, Version
from softprompt.store.names import Reference

router = APIRouter(tags=["OpenAI"], route_class=KeyedRoute)


@router.get("/v1/models")
async def models(caller: Asking, parts: Here, page: Annotated[ListQuery, Query()]) -> ModelList:
    """The base model, the caller's prompts, and the aliases of these, in alphabetical order, a page at a time."""
    data = [_base(parts)] if page.after is None else []
    behind = None if page.after in (None, parts.name) else _alias_named(page.after)
    found = await asyncio.to_thread(parts.store.aliases_page, caller.tenant, limit=page.limit - len(data), after=behind)
    data += [_prompt(_name(each, parts.name), each.version, parts.name) for each in found.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return ModelList(data=data, first_id=first, last_id=last, has_more=found.has_more)


@router.get("/v1/models/{model:path}")
async def model(model: str, caller: Asking, parts: Here) -> Model:
    """The base model, or the version of a prompt that a name means now."""
    version = await parts.resolve(model, caller.tenant)
    return _base(parts) if version is None else _prompt(model, version, parts.name)


def _alias_named(after: str) -> tuple[str, str]:
    """The prompt's name and the alias that an id of this list consists of.

    Raises:
        Refusal: 400, no such list has that id.
    """
    try:
        reference = Reference.parse(after)
        if isinstance(reference.at, int):
            raise SettingError(f"{after!r} is a version, and names and aliases are listed")
    except SettingError as error:
        raise Refusal(400, f"Invalid value for 'after': {error}.", param="after", code="invalid_value") from error
    return reference.name, reference.at or ACTIVE


def _name(alias: Alias, base: str) -> str:
    """What to write as `model`; a prompt's bare name means the base model where that has the same."""
    return alias.name if alias.alias == ACTIVE and alias.name != base else f"{alias.name}@{alias.alias}"


def _base(parts: Parts) -> Model:
    return Model(id=parts.name, created=parts.started, owned_by="softprompt")


def _prompt(name: str, version: Version, base: str) -> Model:
    created = int(version.created_at.timestamp())
    return Model(id=name, created=created, owned_by=version.tenant, parent=base, root=str(version), task=version.task)
