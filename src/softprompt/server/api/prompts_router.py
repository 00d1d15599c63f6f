"""`/v1/prompts`: list, upload, activate, roll back and remove a tenant's own prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from softprompt.errors import SavedPromptError, TaskError, translate_os_errors
from softprompt.registry import ACTIVE_ALIAS, PromptVersion, ResultPage
from softprompt.saved import SavedPrompt
from softprompt.server.api.authenticated_route import AuthenticatedRoute
from softprompt.server.api.dependencies import CurrentPrincipal, ManagePrincipal, RateLimitedManagePrincipal, StateDep
from softprompt.server.api.registry_responses import (
    serialize_event,
    serialize_page,
    serialize_prompt,
    serialize_version,
)
from softprompt.server.api.upload_form import UPLOAD_REQUEST_BODY, UploadRequest, parse_form_fields, parse_form_files
from softprompt.server.api_errors import ApiError
from softprompt.server.app_state import AppState
from softprompt.server.auth.principal import Principal
from softprompt.server.prompts.upload_validator import (
    UPLOAD_PATH,
)
from softprompt.server.request_errors import InvalidUpload
from softprompt.server.schemas.list_queries import NumberedListQuery, PromptListQuery

router = APIRouter(prefix="/v1/prompts", tags=["prompts"], route_class=AuthenticatedRoute)

MAX_LISTED_VERSIONS = 20  # newest versions of a prompt in a list, in addition to those with an alias

JsonObject = dict[str, Any]
PromptName = Annotated[str, Path(max_length=100, description="The prompt's name.")]
VersionNumber = Annotated[int, Path(ge=1, le=999_999_999, description="The version's number.")]
AliasName = Annotated[
    str, Field(max_length=100, description="The alias; a name without a selector refers to `active`.")
]


class ActivateRequest(BaseModel):
    """An alias, and the version that it will point to."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, le=999_999_999)
    alias: AliasName = ACTIVE_ALIAS


class AliasRequest(BaseModel):
    """The alias to change."""

    model_config = ConfigDict(extra="forbid")

    alias: AliasName = ACTIVE_ALIAS


@router.get("")
def list_prompts(
    state: StateDep, principal: CurrentPrincipal, query: Annotated[PromptListQuery, Query()]
) -> JsonObject:
    """List the tenant's prompts in alphabetical order, in pages, each with its aliases and newest versions."""
    page = state.registry.get_prompts_page(
        principal.tenant,
        limit=query.limit,
        after=query.after,
        name_contains=query.search.lower(),
        num_newest=MAX_LISTED_VERSIONS,
    )
    return serialize_page([serialize_prompt(prompt) for prompt in page.items], "name", has_more=page.has_more)


@router.get("/{name}/versions")
def list_versions(
    state: StateDep, principal: CurrentPrincipal, name: PromptName, query: Annotated[NumberedListQuery, Query()]
) -> JsonObject:
    """List the versions of a prompt, the newest first, in pages."""
    page = state.registry.get_versions_page(name, tenant=principal.tenant, limit=query.limit, before=query.after)
    return serialize_page([serialize_version(version) for version in page.items], "version", has_more=page.has_more)


@router.post("", status_code=201, openapi_extra=UPLOAD_REQUEST_BODY)
async def add_prompt(request: Request, principal: RateLimitedManagePrincipal, state: StateDep) -> JsonObject:
    """Register a saved prompt, sent as its files, as the next version of a name."""
    validator = state.upload_validator
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError(415, "send the prompt's files as multipart/form-data", code="unsupported_media_type")
    with _report_invalid_upload(), translate_os_errors(UPLOAD_PATH):  # large bodies are spooled to disk
        async with request.form(max_files=3, max_fields=3, max_part_size=8192) as form:
            upload, files = parse_form_fields(form), parse_form_files(form)
            validator.check_files({name: file.size or 0 for name, file in files.items()})
            async with validator.upload_semaphore.acquire_slots(principal.tenant):
                contents = {name: await file.read() for name, file in files.items()}
                saved_prompt = await run_in_threadpool(validator.parse_prompt, contents)
                await validator.verify_prompt(saved_prompt, upload.name, principal.tenant)
                version = await run_in_threadpool(_store_upload, state, principal, saved_prompt, upload)
    return serialize_version(version)


@router.post("/{name}/activate")
def activate_version(
    state: StateDep, principal: RateLimitedManagePrincipal, name: PromptName, body: ActivateRequest
) -> JsonObject:
    """Point the active alias, or another one, to a version. Running requests keep the version they started with."""
    reference = f"{name}@{body.version}"
    version = state.registry.activate_version(
        reference, alias=body.alias, tenant=principal.tenant, actor=principal.actor
    )
    return serialize_version(version)


@router.post("/{name}/rollback")
def roll_back_alias(
    state: StateDep,
    principal: RateLimitedManagePrincipal,
    name: PromptName,
    body: Annotated[AliasRequest, Body(default_factory=AliasRequest)],
) -> JsonObject:
    """Point the active alias, or another one, back to its previous version."""
    return serialize_version(
        state.registry.roll_back_alias(
            _make_reference(name, body.alias), tenant=principal.tenant, actor=principal.actor
        )
    )


@router.post("/{name}/deactivate")
def deactivate_alias(
    state: StateDep,
    principal: RateLimitedManagePrincipal,
    name: PromptName,
    body: Annotated[AliasRequest, Body(default_factory=AliasRequest)],
) -> JsonObject:
    """Remove the active alias, or another one, from its version."""
    return serialize_version(
        state.registry.deactivate_alias(
            _make_reference(name, body.alias), tenant=principal.tenant, actor=principal.actor
        )
    )


@router.delete("/{name}/versions/{number}")
def remove_version(
    state: StateDep, principal: RateLimitedManagePrincipal, name: PromptName, number: VersionNumber
) -> JsonObject:
    """Remove a version that no alias points to. Version numbers are never reused."""
    [version] = state.registry.remove_versions(f"{name}@{number}", tenant=principal.tenant, actor=principal.actor)
    return {**serialize_version(version), "deleted": True}


@router.get("/{name}/history")
def get_history(
    state: StateDep, principal: ManagePrincipal, name: PromptName, query: Annotated[NumberedListQuery, Query()]
) -> JsonObject:
    """List the audit log of a prompt, the newest event first, in pages."""
    page = ResultPage.from_results(
        state.registry.list_events(principal.tenant, name, query.limit + 1, before=query.after), query.limit
    )
    return serialize_page([serialize_event(event) for event in page.items], "id", has_more=page.has_more)


def _make_reference(name: str, alias: str) -> str:
    return f"{name}@{alias}"


@contextmanager
def _report_invalid_upload() -> Iterator[None]:
    """Report why uploaded files are not a valid prompt; their errors name no files of the server.

    Raises:
        InvalidUpload: the files are not a prompt that this server can use.
    """
    try:
        yield
    except (SavedPromptError, TaskError) as error:
        raise InvalidUpload(str(error)) from error


def _store_upload(
    state: AppState, principal: Principal, saved_prompt: SavedPrompt, upload: UploadRequest
) -> PromptVersion:
    """Register an uploaded prompt within the tenant's storage limit."""
    return state.registry.register_prompt(
        saved_prompt,
        upload.name,
        activate=upload.activate,
        size_limit=state.upload_validator.limits.max_tenant_bytes,
        tenant=principal.tenant,
        actor=principal.actor,
        note=upload.note,
    )
