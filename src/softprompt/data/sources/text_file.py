"""A text file by lines: encoding, line ends, and the byte range of each line. This module knows no file format."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from softprompt.data.sources.encoding_detection import UTF_8, detect_encoding, guess_encoding
from softprompt.errors import DataError

SAMPLE_BYTES = 2**16  # bytes from which an encoding is guessed


@dataclass(frozen=True)
class TextLine:
    """A line with its line end.

    Attributes:
        number: line number, counted from 1.
        start_byte: offset of the first byte.
        end_byte: offset of the byte after the last.
        text: decoded text, line end included.
    """

    number: int
    start_byte: int
    end_byte: int
    text: str


@dataclass(frozen=True)
class TextFile:
    """A text file with known encoding and line ends.

    Attributes:
        path: path of the file.
        encoding: Python's name of the encoding.
        text_start: offset of the first byte after the byte-order mark.
        newline: characters that end a line.
    """

    path: Path
    encoding: str
    text_start: int
    newline: str

    @classmethod
    def open(cls, path: Path) -> TextFile:
        """Detect the encoding and line ends of a file. The default encoding is UTF-8.

        Only a line feed ends a line: JSONL text may contain U+2028. In a file without line feeds, a carriage return
        ends a line.

        Raises:
            DataError: the file cannot be opened.
        """
        with open_file(path) as file:
            encoding, begin = detect_encoding(file.read(8))
            return cls(path, encoding, begin, _detect_newline(file, encoding))

    def iter_lines(self) -> Iterator[TextLine]:
        """Iterate over all lines.

        Raises:
            DataError: a line cannot be decoded; the message names the likely encoding.
        """
        with open_file(self.path) as file:
            file.seek(self.text_start)
            start = self.text_start
            for number, (line, size) in enumerate(self._iter_raw_lines(file), start=1):
                text = line if isinstance(line, str) else self.decode_bytes(line, start)
                yield TextLine(number, start, start + size, text)
                start += size

    def read_text(self, file: BinaryIO, start: int, end: int | None = None) -> str:
        """Decode a byte range of the open file.

        Raises:
            DataError: the bytes cannot be decoded.
        """
        file.seek(start)
        return self.decode_bytes(file.read() if end is None else file.read(end - start), start)

    def decode_bytes(self, content: bytes, start: int) -> str:
        """Decode bytes that begin at offset `start` of the file.

        Raises:
            DataError: the bytes cannot be decoded; the message names the likely encoding.
        """
        try:
            return content.decode(self.encoding)
        except UnicodeDecodeError as error:
            byte_offset = start + error.start
            raise DataError(
                f"{self.path}: {self._decode_error_message(byte_offset)}{self._encoding_hint(start)}"
            ) from error

    def _iter_raw_lines(self, file: BinaryIO) -> Iterator[tuple[bytes | str, int]]:
        """Yield each line and its length in bytes. UTF-8 is split before decoding, so that errors can name a byte."""
        if self.encoding == UTF_8 and self.newline == "\n":
            yield from ((line, len(line)) for line in file)
            return
        try:
            with io.TextIOWrapper(file, self.encoding, newline=self.newline) as text:
                yield from ((line, len(line.encode(self.encoding))) for line in text)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}: {self._decode_error_message(None)}{self._encoding_hint(self.text_start)}"
            ) from error

    def _decode_error_message(self, byte_offset: int | None) -> str:
        position = "" if byte_offset is None else f" at byte {byte_offset}"
        return f"not valid {self.encoding.upper()}{position}: save the file as UTF-8"

    def _encoding_hint(self, start: int) -> str:
        with open_file(self.path) as file:
            file.seek(start)
            likely = guess_encoding(file.read(SAMPLE_BYTES))
        return "" if likely is None else f" (probably {likely}: iconv -f {likely} -t UTF-8)"


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading bytes.

    Raises:
        DataError: the file cannot be opened.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _detect_newline(file: BinaryIO, encoding: str) -> str:
    """Return the characters that end a line. Nearly every file has a line end within the first chunk."""
    file.seek(0)
    decoder, newline = codecs.getincrementaldecoder(encoding)(errors="replace"), "\n"
    while chunk := file.read(SAMPLE_BYTES):
        text = decoder.decode(chunk)
        if "\n" in text:
            return "\n"
        newline = "\r" if "\r" in text else newline
    return newline
