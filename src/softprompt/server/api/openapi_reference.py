"""Renderer of an OpenAPI description as a page of plain HTML, without scripts and external resources.

Independent of this server's routes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

OpenApiSchema = Mapping[str, Any]

#: Descriptions of constraints in a schema.
CONSTRAINT_TEXTS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} fields",
}
HIDDEN_SCHEMAS = ("HTTPValidationError", "ValidationError")  # of FastAPI; this server's errors have OpenAI's format


@dataclass(frozen=True)
class FieldDoc:
    """A parameter, or a field of an object.

    Attributes:
        name: name of the field.
        type_name: description of the type.
        is_required: whether the field is required.
        notes: constraints, default and description.
    """

    name: str
    type_name: str
    is_required: bool
    notes: str


@dataclass(frozen=True)
class SchemaDoc:
    """A schema with its fields."""

    name: str
    fields: tuple[FieldDoc, ...]


@dataclass(frozen=True)
class OperationDoc:
    """An operation: a method of a path.

    Attributes:
        method: HTTP method.
        path: path with its parameters.
        description: description of the operation.
        needs_key: whether an API key is required.
        parameters: parameters of the path and the query.
        body: name of the body's schema, or the fields of a form; None without a body.
        response: status and schema of a successful response.
    """

    method: str
    path: str
    description: str
    needs_key: bool
    parameters: tuple[FieldDoc, ...]
    body: str | tuple[FieldDoc, ...] | None
    response: str


def render_openapi_reference(openapi: OpenApiSchema) -> str:
    """Render the page of an OpenAPI description."""
    schemas = [
        SchemaDoc(name, list_object_fields(schema))
        for name, schema in openapi["components"]["schemas"].items()
        if name not in HIDDEN_SCHEMAS
    ]
    return _load_template().render(info=openapi["info"], operations=list_operations(openapi), schemas=schemas)


def list_operations(openapi: OpenApiSchema) -> list[OperationDoc]:
    """List all operations of a description in its order."""
    return [
        _build_operation(method.upper(), path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]


def list_object_fields(schema: OpenApiSchema) -> tuple[FieldDoc, ...]:
    """List the fields of an object's schema."""
    required = schema.get("required", ())
    return tuple(_build_field(name, each, name in required) for name, each in schema.get("properties", {}).items())


def describe_type(schema: OpenApiSchema) -> str:
    """Describe the type of a schema, such as `list of string or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(describe_type(each) for each in choices))
    if "const" in schema or "enum" in schema:
        return " or ".join(json.dumps(each) for each in schema.get("enum", (schema.get("const"),)))
    if schema.get("type") == "array":
        return f"list of {describe_type(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _build_operation(method: str, path: str, operation: OpenApiSchema) -> OperationDoc:
    return OperationDoc(
        method=method,
        path=path,
        description=operation.get("description", operation.get("summary", "")),
        needs_key="security" in operation,
        parameters=tuple(
            _build_field(each["name"], {**each["schema"], **each}, each.get("required", False))
            for each in operation.get("parameters", ())
        ),
        body=_describe_body(operation.get("requestBody")),
        response=_describe_response(operation["responses"]),
    )


def _describe_body(body: OpenApiSchema | None) -> str | tuple[FieldDoc, ...] | None:
    if body is None:
        return None
    [content] = body["content"].values()
    return list_object_fields(content["schema"]) or describe_type(content["schema"])


def _describe_response(responses: OpenApiSchema) -> str:
    """Describe the successful response."""
    status, response = next(item for item in responses.items() if item[0].startswith("2"))
    kinds = [describe_type(content.get("schema", {})) for content in response.get("content", {}).values()]
    return f"{status} {' or '.join(kinds)}".strip()


def _build_field(name: str, schema: OpenApiSchema, is_required: bool) -> FieldDoc:
    notes = [
        text.format(f"{value:,g}") for bound, text in CONSTRAINT_TEXTS.items() for value in _find_bounds(schema, bound)
    ]
    if schema.get("default") is not None:
        notes.append(f"default: {json.dumps(schema['default'])}")
    return FieldDoc(
        name, describe_type(schema), is_required, "; ".join([*notes, schema.get("description", "")]).strip("; ")
    )


def _find_bounds(schema: OpenApiSchema, bound: str) -> Sequence[float | int]:
    """Find a constraint of a schema, or of its alternatives."""
    alternatives = schema.get("anyOf", ())
    return [candidate[bound] for candidate in (schema, *alternatives) if bound in candidate][:1]


@cache
def _load_template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("openapi_reference.html")
