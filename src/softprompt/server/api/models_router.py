"""`/v1/models`: the base model, and the tenant's own prompts and aliases."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from softprompt.errors import SettingError
from softprompt.registry import ACTIVE_ALIAS, PromptAlias, PromptVersion
from softprompt.registry.prompt_reference import PromptReference
from softprompt.server.api.authenticated_route import AuthenticatedRoute
from softprompt.server.api.dependencies import CurrentPrincipal, StateDep
from softprompt.server.api_errors import ApiError
from softprompt.server.app_state import AppState
from softprompt.server.schemas.list_queries import ListQuery
from softprompt.server.schemas.model_schemas import ModelCard, ModelList

router = APIRouter(tags=["OpenAI"], route_class=AuthenticatedRoute)


@router.get("/v1/models")
async def list_models(principal: CurrentPrincipal, state: StateDep, query: Annotated[ListQuery, Query()]) -> ModelList:
    """List the base model, then the tenant's prompts and aliases in alphabetical order, in pages."""
    data = [_base_model_card(state)] if query.after is None else []
    after = None if query.after in (None, state.served_model_name) else _parse_after(query.after)
    page = await asyncio.to_thread(
        state.registry.get_aliases_page, principal.tenant, limit=query.limit - len(data), after=after
    )
    data += [
        _prompt_card(_model_id(alias, state.served_model_name), alias.version, state.served_model_name)
        for alias in page.items
    ]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return ModelList(data=data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/v1/models/{model:path}")
async def get_model(model: str, principal: CurrentPrincipal, state: StateDep) -> ModelCard:
    """Return the base model, or the version that a name resolves to now."""
    version = await state.resolve_version(model, principal.tenant)
    return _base_model_card(state) if version is None else _prompt_card(model, version, state.served_model_name)


def _parse_after(after: str) -> tuple[str, str]:
    """Parse an id of this list into the prompt's name and the alias.

    Raises:
        ApiError: 400, the id is not valid in this list.
    """
    try:
        reference = PromptReference.parse_reference(after)
        if isinstance(reference.selector, int):
            raise SettingError(f"{after!r} is a version, but this list has names and aliases")
    except SettingError as error:
        raise ApiError(400, f"Invalid value for 'after': {error}.", param="after", code="invalid_value") from error
    return reference.name, reference.selector or ACTIVE_ALIAS


def _model_id(alias: PromptAlias, base_model: str) -> str:
    """Return the id that requests use as `model`; the base model's name never refers to a prompt."""
    return alias.name if alias.alias == ACTIVE_ALIAS and alias.name != base_model else f"{alias.name}@{alias.alias}"


def _base_model_card(state: AppState) -> ModelCard:
    return ModelCard(id=state.served_model_name, created=state.started_at, owned_by="softprompt")


def _prompt_card(model_id: str, version: PromptVersion, base_model: str) -> ModelCard:
    created = int(version.created_at.timestamp())
    return ModelCard(
        id=model_id, created=created, owned_by=version.tenant, parent=base_model, root=str(version), task=version.task
    )
