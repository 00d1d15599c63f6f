"""Files that are not what their ending says, known by how they begin: a pointer, an archive, a web page."""

from __future__ import annotations

from pathlib import Path

from softprompt.data.text_file import opened
from softprompt.errors import DataError

HEAD = 512  # bytes that are looked at

UNPACK = "unpack it first"
#: How a file begins, what it is then, and what to do.
KINDS = (
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS and not the data", "run git lfs pull"),
    (b"\x1f\x8b", "packed by gzip", f"{UNPACK} (gunzip)"),
    (b"BZh", "packed by bzip2", f"{UNPACK} (bunzip2)"),
    (b"\xfd7zXZ\0", "packed by xz", f"{UNPACK} (unxz)"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard", f"{UNPACK} (unzstd)"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", f"{UNPACK}, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet"),
    (b"ARROW1", "an Arrow file", "save it as Parquet or JSONL"),
    (b"SQLite format 3", "a SQLite database", "save the table as CSV or JSONL"),
    (b"%PDF-", "a PDF", "save its data as CSV or JSONL"),
)
PAGES = (b"<!doctype html", b"<html", b"<?xml")


def check_kind(path: Path) -> None:
    """Whether a file may be what its ending says.

    Raises:
        DataError: it is not; says what it is and what to do.
    """
    with opened(path) as file:
        head = file.read(HEAD)
    for begins, kind, advice in KINDS:
        if head.startswith(begins) and not (begins == b"PAR1" and path.suffix.lower() == ".parquet"):
            raise DataError(f"{path} is {kind}: {advice}")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGES):
        raise DataError(f"{path} is a web page and not the data: download the file itself (a link to the raw file)")
