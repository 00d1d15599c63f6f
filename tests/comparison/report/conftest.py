"""Sample reports, each written once for all tests that only read it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison.report import parse_report, write_report
from tests.comparison.report.sample_reports import classifying, failing, finished, wide, writing


def never_ending() -> dict[str, Any]:
    """Make a report with long names that cannot be wrapped."""
    report = classifying(("hard", "prefix"), thorough=False)
    report["command"] = "softprompt compare --data " + "a-very-long-name-without-a-space" * 8
    report["data"]["train"]["source"] = report["task"]["template"] = "x" * 300
    report["methods"]["prefix"]["title"] = "prefix-tuning-under-a-name-of-its-own-that-never-ends " * 3
    return finished(report)


REPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "full": classifying,
    "minimal": lambda: classifying(("prefix",), seeds=1, thorough=False),
    "failing": failing,
    "all failed": lambda: failing(every=True),
    "writing": writing,
    "long names": never_ending,
    "wide": lambda: wide(30, 50),
}


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Function that writes a sample report by its name, and returns its folder; tests must not change the folder."""

    @cache
    def write(name: str) -> Path:
        folder = tmp_path_factory.mktemp("report") / "output"
        write_report(parse_report(REPORTS[name]()), folder)
        return folder

    return write
