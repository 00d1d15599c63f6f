"""`/`: a small page that asks several prompts the same and shows their answers side by side.

Its files fetch nothing from elsewhere, and a policy in their headers forbids it to them. It asks `/v1` as any other
client does, with a key that its user typed; what it wants to know beside that is here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

from softprompt.errors import SoftPromptError
from softprompt.saved import Manifest
from softprompt.server.caller import Asking
from softprompt.server.failures import failure_of
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.parts import Here
from softprompt.server.protocol.page import PageState, PromptDetails, Used
from softprompt.server.refusal import Refusal
from softprompt.tasks.chat import ChatTask
from softprompt.tasks.template import Template

FOLDER = Path(__file__).parents[1] / "page"
FILES = {file.name: file for file in FOLDER.iterdir() if file.suffix in (".css", ".html", ".js", ".svg")}
POLICY = {
    "default-src": "'none'",
    "connect-src": "'self'",
    "img-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{what} {where}" for what, where in POLICY.items()),
    "cache-control": "no-cache",  # whoever upgrades the server has its page at once
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
LARGE = 1e15  # beyond it, and no number at all, nothing is a figure

router = APIRouter(tags=["page"], route_class=KeyedRoute)


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    """The page."""
    return FileResponse(FILES["index.html"], headers=HEADERS)


@router.get("/page/files/{name}", include_in_schema=False)
async def file(name: str) -> FileResponse:
    """One of its files; of no other folder, whatever the name says."""
    if name not in FILES:
        raise Refusal(404, "The page has no such file.")
    return FileResponse(FILES[name], headers=HEADERS)


@router.get("/page/state")
async def state(caller: Asking, parts: Here) -> PageState:
    """The base model, and how much of the caller's was used."""
    used = {model: Used.of(use) for model, use in parts.tally.used(caller.tenant).items()}
    return PageState(base=parts.name, chats=parts.model.tokenizer.chat_template is not None, used=used)


@router.get("/page/prompts/{model}")
async def prompt(model: str, caller: Asking, parts: Here) -> PromptDetails:
    """What the version that a name means says about itself."""
    version = await parts.resolve(model, caller.tenant)
    if version is None:
        raise Refusal(400, "The base model is no prompt.")
    try:
        manifest = (await asyncio.to_thread(parts.store.read, version)).manifest
    except SoftPromptError as error:
        raise failure_of(error, str(version)) from error
    return PromptDetails(
        model=str(version),
        base=version.base,
        fits=parts.model.may_be(version.fingerprint),
        task=version.task,
        fields=_fields(manifest),
        method=version.method,
        num_virtual_tokens=version.num_virtual_tokens,
        validation=_figures(manifest),
    )


def _fields(manifest: Manifest) -> tuple[str, ...]:
    task = manifest.task
    return () if isinstance(task, ChatTask) else Template(task.template).fields


def _figures(manifest: Manifest) -> dict[str, float]:
    """The numbers among its validation figures: whoever made the prompt may have written anything there."""
    found = manifest.metrics.get("validation")
    figures = found if isinstance(found, dict) else {}
    return {name: value for name, value in figures.items() if isinstance(value, int | float) and abs(value) < LARGE}
