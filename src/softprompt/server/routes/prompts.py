"""`/v1/prompts`: a tenant's own prompts. List them, bring one in, activate, roll back, remove."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from softprompt.errors import disk_errors
from softprompt.saved import SavedPrompt
from softprompt.server.caller import Asking, Caller, Changing, Managing
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.protocol.lists import NumberQuery, PromptQuery
from softprompt.server.refusal import Refusal
from softprompt.server.stored import event_facts, list_facts, prompt_facts, store_refusals, version_facts
from softprompt.server.uploads import MANIFEST, OWN, PEFT, WHERE, Uploads
from softprompt.store import ACTIVE, Page, Store, Version

router = APIRouter(prefix="/v1/prompts", tags=["prompts"], route_class=KeyedRoute)

NEWEST = 20  # versions that a list of prompts tells of each, beside those that an alias points to

Facts = dict[str, Any]
Name = Annotated[str, Path(max_length=100, description="The prompt's name.")]
Number = Annotated[int, Path(ge=1, le=999_999_999, description="The version's number.")]
AliasField = Annotated[str, Field(max_length=100, description="The alias; `active` is what a bare name means.")]


class Upload(BaseModel):
    """What is said of an uploaded prompt, beside its files."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100, description="What it is called. A name that is there gets a new version.")
    activate: bool = Field(default=True, description="Whether the bare name means this version from now on.")
    note: str = Field(default="", max_length=1000, description="What there is to say about it.")


class Activation(BaseModel):
    """Which alias is to point to which version."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, le=999_999_999)
    alias: AliasField = ACTIVE


class Alias(BaseModel):
    """Which alias is meant."""

    model_config = ConfigDict(extra="forbid")

    alias: AliasField = ACTIVE


_FORM = {
    "type": "object",
    "required": ["name", "file"],
    "properties": {
        **Upload.model_json_schema()["properties"],
        "file": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": f"{MANIFEST} with {OWN}, or with {' and '.join(PEFT)}, each under its name.",
        },
    },
}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}


@router.get("")
def list_prompts(request: Request, caller: Asking, page: Annotated[PromptQuery, Query()]) -> Facts:
    """The tenant's prompts in alphabetical order, a page at a time, each with its aliases and its newest versions."""
    behind, part = page.after, page.search.lower()
    with store_refusals():
        store = _store(request)
        found = store.prompts_page(caller.tenant, limit=page.limit, after=behind, containing=part, newest=NEWEST)
    return list_facts([prompt_facts(prompt) for prompt in found.items], "name", has_more=found.has_more)


@router.get("/{name}/versions")
def list_versions(request: Request, caller: Asking, name: Name, page: Annotated[NumberQuery, Query()]) -> Facts:
    """A prompt's versions, the newest first, a page at a time."""
    with store_refusals():
        found = _store(request).versions_page(name, tenant=caller.tenant, limit=page.limit, before=page.after)
    return list_facts([version_facts(version) for version in found.items], "version", has_more=found.has_more)


@router.post("", status_code=201, openapi_extra=_BODY)
async def add(request: Request, caller: Changing) -> Facts:
    """Add a saved prompt, sent as its files, as the next version of a name."""
    uploads: Uploads = request.app.state.uploads
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal(415, "send the prompt's files as multipart/form-data", code="unsupported_media_type")
    with store_refusals(), disk_errors(WHERE):  # a large body waits on the disk, too
        async with request.form(max_files=3, max_fields=3, max_part_size=8192) as form:
            said, files = _said(form), _files(form)
            uploads.check_files({name: file.size or 0 for name, file in files.items()})
            async with uploads.turns.holding(caller.tenant):
                contents = {name: await file.read() for name, file in files.items()}
                saved = await run_in_threadpool(uploads.read, contents)
                await uploads.verify(saved, said.name, caller.tenant)
                version = await run_in_threadpool(_add, request, caller, saved, said)
    return version_facts(version)


@router.post("/{name}/activate")
def activate(request: Request, caller: Changing, name: Name, body: Activation) -> Facts:
    """Point the name, or another alias of it, to a version. Requests that run end on the version they began with."""
    with store_refusals():
        reference = f"{name}@{body.version}"
        version = _store(request).activate(reference, alias=body.alias, tenant=caller.tenant, by=caller.who)
    return version_facts(version)


@router.post("/{name}/rollback")
def roll_back(
    request: Request, caller: Changing, name: Name, body: Annotated[Alias, Body(default_factory=Alias)]
) -> Facts:
    """Point the name, or another alias of it, to the version that it pointed to before."""
    with store_refusals():
        return version_facts(
            _store(request).roll_back(_reference(name, body.alias), tenant=caller.tenant, by=caller.who)
        )


@router.post("/{name}/deactivate")
def deactivate(
    request: Request, caller: Changing, name: Name, body: Annotated[Alias, Body(default_factory=Alias)]
) -> Facts:
    """Point the name, or another alias of it, to nothing."""
    with store_refusals():
        return version_facts(
            _store(request).deactivate(_reference(name, body.alias), tenant=caller.tenant, by=caller.who)
        )


@router.delete("/{name}/versions/{number}")
def remove(request: Request, caller: Changing, name: Name, number: Number) -> Facts:
    """Remove a version that no alias points to. Its number is not given again."""
    with store_refusals():
        [version] = _store(request).remove(f"{name}@{number}", tenant=caller.tenant, by=caller.who)
    return {**version_facts(version), "deleted": True}


@router.get("/{name}/history")
def history(request: Request, caller: Managing, name: Name, page: Annotated[NumberQuery, Query()]) -> Facts:
    """Who did what to the prompt, and when; the newest first, a page at a time."""
    with store_refusals():
        found = Page.cut_from(
            _store(request).history(caller.tenant, name, page.limit + 1, before=page.after), page.limit
        )
    return list_facts([event_facts(event) for event in found.items], "id", has_more=found.has_more)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _reference(name: str, alias: str) -> str:
    return f"{name}@{alias}"


def _said(form: FormData) -> Upload:
    """The form's fields, but for the files."""
    fields = [(name, value) for name, value in form.multi_items() if name != "file"]
    try:
        if len(dict(fields)) < len(fields):
            raise Refusal(400, "a field of the form came twice", code="invalid_value")
        return Upload.model_validate(dict(fields))
    except ValidationError as error:
        problems = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_input=False)]
        raise RequestValidationError(problems) from error


def _files(form: FormData) -> dict[str, UploadFile]:
    """The form's files, by their names."""
    files = [each for each in form.getlist("file") if isinstance(each, UploadFile)]
    found = {file.filename or "": file for file in files}
    if len(found) < len(files):
        raise Refusal(400, "a file came twice", param="file", code="invalid_value")
    if not found:
        raise Refusal(400, f"no files came: send {MANIFEST} and the others, each as 'file'", param="file")
    return found


def _add(request: Request, caller: Caller, saved: SavedPrompt, said: Upload) -> Version:
    """Store it, if the tenant has room."""
    store, uploads = _store(request), request.app.state.uploads
    limit: int | None = uploads.limits.tenant
    options = {"tenant": caller.tenant, "by": caller.who, "note": said.note}
    return store.add(saved, said.name, activate=said.activate, size_limit=limit, **options)
