"""Reading and writing report.json. `format_2/` holds files that version 0.1.0 wrote."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison.report import load_report, parse_report
from softprompt.comparison.report.report_file import serialize_report
from softprompt.errors import SettingError
from tests.comparison.report.sample_reports import classifying, failing, writing

FILES = sorted((Path(__file__).parent / "format_2").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_report_is_written_byte_for_byte_as_it_was_read(path: Path) -> None:
    assert serialize_report(load_report(path)) == path.read_bytes()


@pytest.mark.parametrize("make", [classifying, writing, failing])
def test_serialized_report_has_the_same_keys_in_the_same_order(make: Any) -> None:
    content = make()
    assert json.dumps(json.loads(serialize_report(parse_report(content)))) == json.dumps(content)


def test_the_number_of_repeated_tokens_is_written_only_if_it_is_known() -> None:
    content = classifying(("hard", "few-shot"), thorough=False)
    content["methods"]["few-shot"]["num_request_tokens"] = 512
    written = json.loads(serialize_report(parse_report(content)))["methods"]
    assert written["few-shot"]["num_request_tokens"] == 512
    assert "num_request_tokens" not in written["hard"]


def test_nan_and_infinity_are_written_as_null() -> None:
    content = classifying(("hard", "prefix"), thorough=False)
    prefix = content["methods"]["prefix"]
    prefix["metrics"]["loss"]["mean"] = math.nan
    prefix["useful_tokens_per_second"] = math.inf
    prefix["pairwise_tests"]["hard"]["difference"] = math.nan
    report = parse_report(content)
    assert report.results["prefix"].metrics["loss"].mean is None
    written = json.loads(serialize_report(report), parse_constant=pytest.fail)["methods"]["prefix"]
    assert written["metrics"]["loss"]["mean"] is None
    assert written["useful_tokens_per_second"] is None
    assert written["pairwise_tests"]["hard"]["difference"] is None
    again = parse_report(json.loads(serialize_report(report)))
    assert math.isnan(again.results["prefix"].pairwise_tests["hard"].difference)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a report of a comparison"),
        ('{"format_version": 3}', "format version 3, but 1 to 2 are supported: upgrade softprompt"),
        ("{}", "format version None"),
        ('{"format_version": 2}', "invalid report.json: `command`: Field required"),
    ],
)
def test_invalid_file_is_rejected(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text, "utf-8")
    with pytest.raises(SettingError, match=words):
        load_report(tmp_path / "report.json")


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="report.json cannot be read: No such file"):
        load_report(tmp_path / "report.json")


def test_unknown_field_is_rejected() -> None:
    content = classifying(("hard",), thorough=False)
    content["methods"]["hard"]["seconds"] = 1.0
    with pytest.raises(SettingError, match=r"`methods\.hard\.completed\.seconds`: Extra inputs"):
        parse_report(content)
