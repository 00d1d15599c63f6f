"""Detect files whose content differs from their extension: a Git LFS pointer, an archive, a web page."""

from __future__ import annotations

from pathlib import Path

from softprompt.data.sources.text_file import open_file
from softprompt.errors import DataError

HEADER_BYTES = 512  # bytes that are compared with the signatures

UNPACK_ADVICE = "unpack it first"
#: The first bytes of a file, the kind of file they identify, and what to do about it.
FILE_SIGNATURES = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the data", "run git lfs pull"),
    (b"\x1f\x8b", "compressed with gzip", f"{UNPACK_ADVICE} (gunzip)"),
    (b"BZh", "compressed with bzip2", f"{UNPACK_ADVICE} (bunzip2)"),
    (b"\xfd7zXZ\0", "compressed with xz", f"{UNPACK_ADVICE} (unxz)"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", f"{UNPACK_ADVICE} (unzstd)"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", f"{UNPACK_ADVICE}, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV"),
    (b"PAR1", "a Parquet file", "rename it to .parquet"),
    (b"ARROW1", "an Arrow file", "save it as Parquet or JSONL"),
    (b"SQLite format 3", "a SQLite database", "save the table as CSV or JSONL"),
    (b"%PDF-", "a PDF", "save its data as CSV or JSONL"),
)
MARKUP_STARTS = (b"<!doctype html", b"<html", b"<?xml")


def check_file_type(path: Path) -> None:
    """Check that a file's content may match its extension.

    Raises:
        DataError: the content is of another kind; the message names the kind and a remedy.
    """
    with open_file(path) as file:
        head = file.read(HEADER_BYTES)
    for signature, kind, advice in FILE_SIGNATURES:
        if head.startswith(signature) and not (signature == b"PAR1" and path.suffix.lower() == ".parquet"):
            raise DataError(f"{path} is {kind}: {advice}")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(MARKUP_STARTS):
        raise DataError(f"{path} is a web page, not the data: download the raw file")
