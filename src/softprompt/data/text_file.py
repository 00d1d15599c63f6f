"""A text file by lines: its encoding, its line ends, and where in its bytes each line stands. Knows no file format."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from softprompt.data.encodings import UTF_8, likely_encoding, marked_encoding
from softprompt.errors import DataError

SAMPLE = 2**16  # bytes that an encoding is guessed from


@dataclass(frozen=True)
class Line:
    """One line with its end.

    Attributes:
        number: counted from 1.
        begin: its first byte.
        end: the byte behind its last.
        text: what it says.
    """

    number: int
    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class TextFile:
    """A file whose encoding and line ends are known.

    Attributes:
        path: the file.
        encoding: Python's name of it.
        begin: the first byte of the text: behind the byte-order mark.
        line_end: what ends a line.
    """

    path: Path
    encoding: str
    begin: int
    line_end: str

    @classmethod
    def open(cls, path: Path) -> TextFile:
        """Look at a file: it is UTF-8 unless it begins otherwise.

        A line feed ends a line and nothing else does: a text may hold U+2028, which is no line end in JSONL. In a file
        without any line feed a carriage return does.

        Raises:
            DataError: it cannot be opened.
        """
        with opened(path) as file:
            encoding, begin = marked_encoding(file.read(8))
            return cls(path, encoding, begin, _line_end(file, encoding))

    def lines(self) -> Iterator[Line]:
        """Every line.

        Raises:
            DataError: one is not in the file's encoding; says which it may be.
        """
        with opened(self.path) as file:
            file.seek(self.begin)
            begin = self.begin
            for number, (line, size) in enumerate(self._lines(file), start=1):
                text = line if isinstance(line, str) else self.decode(line, begin)
                yield Line(number, begin, begin + size, text)
                begin += size

    def read(self, file: BinaryIO, begin: int, end: int | None = None) -> str:
        """The text from one byte to another of the file, which is open.

        Raises:
            DataError: it is not in the file's encoding.
        """
        file.seek(begin)
        return self.decode(file.read() if end is None else file.read(end - begin), begin)

    def decode(self, content: bytes, begin: int) -> str:
        """The text of bytes that stand at byte `begin`.

        Raises:
            DataError: they are not in the file's encoding; says which they may be in.
        """
        try:
            return content.decode(self.encoding)
        except UnicodeDecodeError as error:
            at = begin + error.start
            raise DataError(f"{self.path}: {self._not_decoded(at)}{self._likely(begin)}") from error

    def _lines(self, file: BinaryIO) -> Iterator[tuple[bytes | str, int]]:
        """Each line, and how many bytes it has; UTF-8 is split before it is decoded, so that complaints name a byte."""
        if self.encoding == UTF_8 and self.line_end == "\n":
            yield from ((line, len(line)) for line in file)
            return
        try:
            with io.TextIOWrapper(file, self.encoding, newline=self.line_end) as text:
                yield from ((line, len(line.encode(self.encoding))) for line in text)
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: {self._not_decoded(None)}{self._likely(self.begin)}") from error

    def _not_decoded(self, at: int | None) -> str:
        place = "" if at is None else f" at byte {at}"
        return f"not {self.encoding.upper()}{place}: save it as UTF-8"

    def _likely(self, begin: int) -> str:
        with opened(self.path) as file:
            file.seek(begin)
            likely = likely_encoding(file.read(SAMPLE))
        return "" if likely is None else f" (it reads as {likely}: iconv -f {likely} -t UTF-8)"


def opened(path: Path) -> BinaryIO:
    """A file, open for reading.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _line_end(file: BinaryIO, encoding: str) -> str:
    """What ends a line: found in the first thousands of characters of nearly every file."""
    file.seek(0)
    decoder, found = codecs.getincrementaldecoder(encoding)(errors="replace"), "\n"
    while chunk := file.read(SAMPLE):
        text = decoder.decode(chunk)
        if "\n" in text:
            return "\n"
        found = "\r" if "\r" in text else found
    return found
