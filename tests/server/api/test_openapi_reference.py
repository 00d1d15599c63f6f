"""The page at `/docs` shows the whole OpenAPI description without external resources."""

from __future__ import annotations

import re
from typing import Any

import pytest

from softprompt.server.api.openapi_reference import (
    describe_type,
    list_object_fields,
    list_operations,
    render_openapi_reference,
)
from tests.server.live_server import Running


def test_the_api_reference_is_complete_and_loads_no_external_resources(served: Running) -> None:
    page, described = served.get("/docs"), served.get("/openapi.json").json()
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == served.get("/").headers["content-security-policy"]
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert all(where[0] in "/#" for where in re.findall(r'(?:src|href)="([^"]*)"', page.text))
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}</code></h2>" in page.text
            assert operation["description"].partition("'")[0] in page.text
    for name in ("temperature", "response_format", "ChatCompletionRequest", "max_tokens"):
        assert name in page.text


def test_fastapis_own_pages_are_disabled(served: Running) -> None:
    assert served.get("/redoc").status_code == served.get("/docs/oauth2-redirect").status_code == 404


def test_links_of_the_api_reference_resolve(served: Running) -> None:
    page = served.get("/docs").text
    inside = set(re.findall(r'href="#([^"]*)"', page))
    assert inside <= set(re.findall(r'id="([^"]*)"', page))
    for where in re.findall(r'href="(/[^"]*)"', page):
        assert served.get(where).status_code == 200, where


def test_html_in_the_openapi_description_is_escaped() -> None:
    hostile = "<script>alert(1)</script>"
    described = {
        "info": {"title": hostile, "version": "1", "description": hostile},
        "paths": {f"/{hostile}": {"get": {"summary": hostile, "responses": {"200": {}}}}},
        "components": {"schemas": {hostile: {"properties": {hostile: {"description": hostile}}}}},
    }
    assert "<script" not in render_openapi_reference(described)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer"}, "integer"),
        ({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}, "list of string or null"),
        ({"oneOf": [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B"}]}, "A or B"),
        ({"const": "list"}, '"list"'),
        ({"enum": ["a", 1]}, '"a" or 1'),
        ({}, "anything"),
    ],
)
def test_json_schema_types_are_described_in_words(schema: dict[str, Any], kind: str) -> None:
    assert describe_type(schema) == kind


def test_the_notes_of_a_field_state_its_constraints_and_default() -> None:
    schema = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100, "description": "How many."}
    [field] = list_object_fields({"properties": {"limit": schema}, "required": []})
    assert field.notes == "at least 1; at most 1,000; default: 100; How many."
    [inner] = list_object_fields(
        {"properties": {"n": {"anyOf": [{"type": "integer", "maximum": 3}, {"type": "null"}]}}}
    )
    assert inner.notes == "at most 3"


def test_form_fields_of_an_upload_are_listed_with_its_operation(served: Running) -> None:
    [upload] = [
        each
        for each in list_operations(served.get("/openapi.json").json())
        if (each.method, each.path) == ("POST", "/v1/prompts")
    ]
    assert isinstance(upload.body, tuple)
    assert {field.name for field in upload.body if field.is_required} == {"name", "file"}
    assert upload.needs_key
