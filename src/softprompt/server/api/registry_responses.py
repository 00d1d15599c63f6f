"""Responses of `/v1/prompts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softprompt.registry import AuditEvent, PromptVersion, RegisteredPrompt


def serialize_version(version: PromptVersion) -> dict[str, Any]:
    """Serialize a version. `model` is its id in requests."""
    return {
        "object": "prompt.version",
        "model": str(version),
        "name": version.name,
        "version": version.number,
        "digest": f"sha256:{version.digest}",
        "size_bytes": version.size_bytes,
        "method": version.method,
        "num_virtual_tokens": version.num_virtual_tokens,
        "task": version.task,
        "created_at": int(version.created_at.timestamp()),
        "created_by": version.created_by,
        "note": version.note,
    }


def serialize_prompt(prompt: RegisteredPrompt) -> dict[str, Any]:
    """Serialize a prompt with its aliases and its listed versions."""
    versions = [serialize_version(version) for version in prompt.versions]
    names = {"object": "prompt", "name": prompt.name, "tenant": prompt.tenant}
    return {**names, "aliases": dict(prompt.aliases), "num_versions": prompt.num_versions, "versions": versions}


def serialize_event(event: AuditEvent) -> dict[str, Any]:
    """Serialize an event of the audit log."""
    fields = {
        "object": "prompt.event",
        "id": event.id,
        "action": event.action,
        "version": event.version,
        "actor": event.actor,
    }
    return {**fields, "created_at": int(event.timestamp.timestamp()), "details": dict(event.details)}


def serialize_page(items: Sequence[Mapping[str, Any]], cursor: str, *, has_more: bool) -> dict[str, Any]:
    """Serialize a page of a list in OpenAI's format.

    Args:
        items: items of the page.
        cursor: field of an item that `after` of the next page refers to.
        has_more: whether there is a next page.
    """
    first, last = (items[0][cursor], items[-1][cursor]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more}
