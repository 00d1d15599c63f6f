"""Files whose content differs from their extension are rejected with a remedy, under every extension."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from softprompt.data import read_examples
from softprompt.errors import DataError
from tests.data.conftest import Write

ENDINGS = ["jsonl", "json", "csv", "tsv", "parquet"]


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.jsonl", '{"text": "a"}')
    return content.getvalue()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS .* run git lfs pull"),
        (gzip.compress(b'{"text": "a"}', mtime=0), "compressed with gzip: unpack it"),
        (zipped(), "a ZIP archive or an Excel workbook"),
        (b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>", "a web page, not the data"),
        (b"\xef\xbb\xbf<html><body></body></html>", "a web page, not the data"),
    ],
)
def test_error_for_a_file_of_another_type_names_its_type(write: Write, ending: str, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"a\.{ending} is .*{said}"):
        read_examples(write(f"a.{ending}", content))


@pytest.mark.parametrize("ending", ENDINGS[:-1])
def test_parquet_with_another_extension_is_rejected(write: Write, ending: str) -> None:
    with pytest.raises(DataError, match=r"is a Parquet file: rename it to \.parquet"):
        read_examples(write(f"a.{ending}", b"PAR1\x00\x01PAR1"))


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize(
    "content", ['{"text": "a", "label": "b"}\n', '[{"text": "a"}]', "[\n  {\n", '{\n  "text": "a"}']
)
def test_json_with_a_table_extension_is_rejected(write: Write, ending: str, content: str) -> None:
    with pytest.raises(DataError, match=rf"a\.{ending} is JSON, not a table: rename it to \.json"):
        read_examples(write(f"a.{ending}", content))


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize("names", ["text,label", '"text";"the label"', "text\tlabel"])
def test_table_with_a_json_extension_is_rejected(write: Write, ending: str, names: str) -> None:
    with pytest.raises(DataError, match=r"is not JSON: the first line is .*rename it to \.csv"):
        read_examples(write(f"a.{ending}", f"{names}\none,two\n"))
