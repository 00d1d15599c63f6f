"""Reads and writes report.json. Reports of version 1 are read too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from softprompt.comparison.report.report_schema import Report
from softprompt.comparison.report.report_upgrade import upgrade_report
from softprompt.errors import SettingError
from softprompt.unicode_text import escape_json


def load_report(path: Path) -> Report:
    """Load a report from a file such as `OUTPUT/report.json`.

    Raises:
        SettingError: the file cannot be read, is not a report, or has a later format version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError or JSONDecodeError
        raise SettingError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise SettingError(f"{path} is not a report of a comparison")
    return parse_report(content)


def parse_report(content: Mapping[str, Any]) -> Report:
    """Return the report of the content of report.json.

    Args:
        content: JSON object, of version 1 or 2.

    Raises:
        SettingError: the object is not a report, or has a later format version.
    """
    try:
        return Report.model_validate(upgrade_report(content))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"invalid report.json: `{field}`: {first['msg']}") from error


def serialize_report(report: Report) -> bytes:
    """Return the content of report.json: one field per line, with control characters escaped."""
    text = json.dumps(report.model_dump(mode="json"), ensure_ascii=False, indent=1, allow_nan=False)
    # No line break is inside a string: JSON escapes them.
    return ("\n".join(map(escape_json, text.split("\n"))) + "\n").encode()
