"""The pages on benchmarks and the stored results of `benchmarks/`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("page", ["benchmarks.md", "benchmark_log.md"])
def test_results_that_a_page_names_are_stored(page: str) -> None:
    names = set(re.findall(r"`(\w+\.json)`", (ROOT / "docs" / page).read_text("utf-8")))
    assert names
    assert not [name for name in sorted(names) if not (RESULTS / name).exists()]
