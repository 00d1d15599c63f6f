"""`/`: the playground, a page that sends one input to several prompts and shows their responses side by side.

Its files load no external resources, and a content security policy forbids them to. The page uses `/v1` as any other
client, with the key that its user has typed. Its own endpoints are here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

from softprompt.saved import Manifest
from softprompt.server.api.authenticated_route import AuthenticatedRoute
from softprompt.server.api.dependencies import CurrentPrincipal, StateDep
from softprompt.server.api_errors import ApiError
from softprompt.server.prompts.prompt_cache import report_unusable_prompt
from softprompt.server.schemas.playground_schemas import PlaygroundState, PromptDetails, UsageSummary
from softprompt.tasks.chat_task import ChatTask
from softprompt.tasks.templates.template import Template

STATIC_FOLDER = Path(__file__).parents[1] / "playground"
STATIC_FILES = {file.name: file for file in STATIC_FOLDER.iterdir() if file.suffix in (".css", ".html", ".js", ".svg")}
CSP_DIRECTIVES = {
    "default-src": "'none'",
    "connect-src": "'self'",
    "img-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
SECURITY_HEADERS = {
    "content-security-policy": "; ".join(f"{directive} {source}" for directive, source in CSP_DIRECTIVES.items()),
    "cache-control": "no-cache",  # an upgraded server serves its new page at once
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
MAX_METRIC_VALUE = 1e15  # larger values are not displayed

router = APIRouter(tags=["playground"], route_class=AuthenticatedRoute)


@router.get("/", include_in_schema=False)
async def get_playground() -> FileResponse:
    """Return the page."""
    return FileResponse(STATIC_FILES["index.html"], headers=SECURITY_HEADERS)


@router.get("/playground/files/{name}", include_in_schema=False)
async def get_static_file(name: str) -> FileResponse:
    """Return a static file of the page, and of no other folder."""
    if name not in STATIC_FILES:
        raise ApiError(404, "The playground has no file of this name.")
    return FileResponse(STATIC_FILES[name], headers=SECURITY_HEADERS)


@router.get("/playground/state")
async def get_playground_state(principal: CurrentPrincipal, state: StateDep) -> PlaygroundState:
    """Return the base model and the usage of the tenant's versions."""
    usages = state.usage_tracker.list_usages(principal.tenant)
    return PlaygroundState(
        base_model=state.served_model_name,
        has_chat_template=state.model.tokenizer.chat_template is not None,
        usage={model: UsageSummary.from_usage(usage) for model, usage in usages.items()},
    )


@router.get("/playground/prompts/{model}")
async def get_prompt_details(model: str, principal: CurrentPrincipal, state: StateDep) -> PromptDetails:
    """Return details from the manifest of the version that a name resolves to."""
    version = await state.resolve_version(model, principal.tenant)
    if version is None:
        raise ApiError(400, "The base model is not a prompt: use the name of a prompt.")
    with report_unusable_prompt(version):
        manifest = (await asyncio.to_thread(state.registry.load_prompt, version)).manifest
    return PromptDetails(
        model=str(version),
        base_model=version.base_model,
        is_compatible=state.model.matches_fingerprint(version.fingerprint),
        task=version.task,
        fields=_template_fields(manifest),
        method=version.method,
        num_virtual_tokens=version.num_virtual_tokens,
        validation_metrics=_numeric_metrics(manifest),
    )


def _template_fields(manifest: Manifest) -> tuple[str, ...]:
    task = manifest.task
    return () if isinstance(task, ChatTask) else Template(task.template).field_names


def _numeric_metrics(manifest: Manifest) -> dict[str, float]:
    """Return the numeric validation metrics of an untrusted manifest."""
    validation = manifest.metrics.get("validation")
    metrics = validation if isinstance(validation, dict) else {}
    return {
        name: value
        for name, value in metrics.items()
        if isinstance(value, int | float) and abs(value) < MAX_METRIC_VALUE
    }
