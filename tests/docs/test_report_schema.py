"""The JSON schema of report.json in docs/ is generated from the code, and accepts the example reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from softprompt.comparison.report.report_file import parse_report, serialize_report

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*/report.json"))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    return Draft202012Validator(read(DOCS / "report.schema.json"))


def test_the_report_schema_is_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, str(DOCS / "generate_report_schema.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_report_schema_describes_every_field(schema: Draft202012Validator) -> None:
    objects = [schema.schema, *(entry for entry in schema.schema["$defs"].values() if "properties" in entry)]
    assert len(objects) > 15
    for entry in objects:
        assert all(field["description"] for field in entry["properties"].values())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_example_reports_are_valid(path: Path, schema: Draft202012Validator) -> None:
    schema.validate(read(path))
    schema.validate(json.loads(serialize_report(parse_report(read(path)))))


def test_report_with_unknown_or_missing_field_is_invalid(schema: Draft202012Validator) -> None:
    report = read(EXAMPLES[0])
    for broken in ({**report, "ways": {}}, {name: value for name, value in report.items() if name != "methods"}):
        with pytest.raises(ValidationError):
            schema.validate(broken)
