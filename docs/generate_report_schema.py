"""Write the JSON schema of a comparison's report.json to docs/report.schema.json. `--check` only compares.

    python docs/generate_report_schema.py [--check]

The descriptions are from the docstrings of the models in `softprompt.comparison.report`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from softprompt.comparison.report.report_part import ReportPart
from softprompt.comparison.report.report_schema import Report

SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


def generate_schema() -> dict[str, Any]:
    """Return the JSON schema of a report, with a description of each object and each field."""
    schema = Report.model_json_schema()
    definitions = {"Report": schema, **schema["$defs"]}
    for model in list_models(ReportPart):
        if model.__name__ in definitions:
            describe_fields(definitions[model.__name__], model)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def list_models(base: type[ReportPart]) -> list[type[ReportPart]]:
    """List the subclasses of a model, at any depth."""
    return [model for child in base.__subclasses__() for model in (child, *list_models(child))]


def describe_fields(definition: dict[str, Any], model: type[ReportPart]) -> None:
    """Replace the description of an object by the first line of its docstring, and describe its fields."""
    definition["description"] = (model.__doc__ or "").partition("\n")[0]
    descriptions = read_attributes(model)
    for name, field in definition["properties"].items():
        field.pop("title", None)
        field["description"] = descriptions[name]


def read_attributes(model: type[ReportPart]) -> dict[str, str]:
    """Return the description of each field in the `Attributes` of a model's docstring and its base classes'."""
    docstrings = [base.__doc__ or "" for base in reversed(model.__mro__) if issubclass(base, ReportPart)]
    return {name: text for doc in docstrings for name, text in re.findall(r"^ {8}(\w+): (.+)$", doc, re.MULTILINE)}


def main() -> int:
    """Write the schema, or compare it for `--check`."""
    text = json.dumps(generate_schema(), indent=1, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv[1:]:
        SCHEMA_FILE.write_text(text, "utf-8")
        return 0
    if SCHEMA_FILE.is_file() and SCHEMA_FILE.read_text("utf-8") == text:
        return 0
    sys.stderr.write("docs/report.schema.json is out of date: run  python docs/generate_report_schema.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
