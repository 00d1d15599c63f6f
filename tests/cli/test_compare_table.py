"""The table of a comparison in the terminal."""

from __future__ import annotations

import pytest

from softprompt.cli.compare_table import build_compare_table
from softprompt.comparison.report import parse_report
from tests.comparison.report.sample_reports import classifying, failing


@pytest.mark.parametrize(("num_tokens", "is_shown"), [(1024, True), (0, False), (None, False)])
def test_repeated_tokens_have_a_column_only_if_a_request_repeats_any(num_tokens: int | None, is_shown: bool) -> None:
    content = classifying(("hard", "few-shot"), thorough=False)
    content["methods"]["few-shot"] |= {} if num_tokens is None else {"num_request_tokens": num_tokens}
    table = build_compare_table(parse_report(content))
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert ("tokens per request" in columns) is is_shown
    if is_shown:
        assert columns["tokens per request"] == ["–", "1,024"]


def test_failed_methods_have_a_row_beside_repeated_tokens() -> None:
    content = failing()
    content["methods"]["hard"]["num_request_tokens"] = 7
    table = build_compare_table(parse_report(content))
    assert table.row_count == len(content["methods"])
