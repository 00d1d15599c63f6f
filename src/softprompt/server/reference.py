"""The description that the server gives of itself, as a page: plain HTML, which needs no script and fetches nothing.

It knows the words of OpenAPI, and nothing of this server's routes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

Schema = Mapping[str, Any]

#: What bounds a value, and how it is said.
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} fields",
}
UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI's; errors have OpenAI's shape here


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of an object.

    Attributes:
        kind: its type, in words.
        notes: what else there is to know: its bounds, what it is if it is left out, what it is for.
    """

    name: str
    kind: str
    is_required: bool
    notes: str


@dataclass(frozen=True)
class Shape:
    """An object that is sent, with its fields."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Operation:
    """A method of a path.

    Attributes:
        parameters: in the path and the query.
        body: what is sent: the name of a shape, or fields of a form; None for nothing.
        answer: what comes.
    """

    method: str
    path: str
    text: str
    needs_key: bool
    parameters: tuple[Field, ...]
    body: str | tuple[Field, ...] | None
    answer: str


def render_reference(described: Schema) -> str:
    """The page of an OpenAPI description."""
    shapes = [
        Shape(name, object_fields(schema))
        for name, schema in described["components"]["schemas"].items()
        if name not in UNUSED
    ]
    return _template().render(info=described["info"], operations=list_operations(described), shapes=shapes)


def list_operations(described: Schema) -> list[Operation]:
    """All operations of a description, in its order."""
    return [
        _operation(method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


def object_fields(schema: Schema) -> tuple[Field, ...]:
    """The fields of an object's schema."""
    required = schema.get("required", ())
    return tuple(_field(name, each, name in required) for name, each in schema.get("properties", {}).items())


def schema_kind(schema: Schema) -> str:
    """A schema's type in words, as `list of string or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(schema_kind(each) for each in choices))
    if "const" in schema or "enum" in schema:
        return " or ".join(json.dumps(each) for each in schema.get("enum", (schema.get("const"),)))
    if schema.get("type") == "array":
        return f"list of {schema_kind(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _operation(method: str, path: str, operation: Schema) -> Operation:
    return Operation(
        method=method,
        path=path,
        text=operation.get("description", operation.get("summary", "")),
        needs_key="security" in operation,
        parameters=tuple(
            _field(each["name"], {**each["schema"], **each}, each.get("required", False))
            for each in operation.get("parameters", ())
        ),
        body=_body(operation.get("requestBody")),
        answer=_answer(operation["responses"]),
    )


def _body(body: Schema | None) -> str | tuple[Field, ...] | None:
    if body is None:
        return None
    [content] = body["content"].values()
    return object_fields(content["schema"]) or schema_kind(content["schema"])


def _answer(answers: Schema) -> str:
    """What comes where all is well."""
    status, answer = next((status, each) for status, each in answers.items() if status.startswith("2"))
    kinds = [schema_kind(content.get("schema", {})) for content in answer.get("content", {}).values()]
    return f"{status} {' or '.join(kinds)}".strip()


def _field(name: str, schema: Schema, is_required: bool) -> Field:
    notes = [how.format(f"{value:,g}") for bound, how in BOUNDS.items() for value in _found(schema, bound)]
    if schema.get("default") is not None:
        notes.append(f"{json.dumps(schema['default'])} unless it is said")
    return Field(name, schema_kind(schema), is_required, "; ".join([*notes, schema.get("description", "")]).strip("; "))


def _found(schema: Schema, bound: str) -> Sequence[float | int]:
    """A bound of a schema, or of what it may be besides null."""
    inner = [each for each in schema.get("anyOf", ()) if bound in each]
    return [each[bound] for each in (schema, *inner) if bound in each][:1]


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("reference.html")
