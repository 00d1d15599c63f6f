"""What lies in an unpacked GGUF's folder: each file's size, times and checksum, and which GGUF files it was made from.

It is by this that damage is noticed. The checksums are compared only where sizes are right and times are not those that
were seen last, so a start does not read everything twice.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

FORMAT_VERSION = 1
MAX_SOURCES = 32  # as many GGUF files are remembered as one content may have: copies, and places it was moved from
_CHUNK_BYTES = 2**22


@dataclass(frozen=True)
class FileStamp:
    """What is seen of a file without reading it.

    Attributes:
        size: bytes.
        modified: nanoseconds.
        changed: nanoseconds; it cannot be set back as the other can.
    """

    size: int
    modified: int
    changed: int

    @classmethod
    def from_file(cls, file: Path) -> FileStamp:
        """A file's."""
        stat = file.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True)
class GGUFFolderManifest:
    """A folder's list of itself.

    Attributes:
        folder: where it lies.
        files: by name, the stamp and the checksum of each.
        sources: by whole path, the stamps of GGUF files with this content; the last is the latest.
    """

    FILE_NAME: ClassVar[str] = "contents.json"

    folder: Path
    files: dict[str, tuple[FileStamp, int]]
    sources: dict[str, FileStamp]

    @classmethod
    def read_folder(cls, folder: Path) -> GGUFFolderManifest | None:
        """The list as it was written; None where there is none that can be read."""
        try:
            read: dict[str, Any] = json.loads((folder / cls.FILE_NAME).read_text("utf-8"))
            if read["format"] != FORMAT_VERSION:
                return None
            files = {name: (FileStamp(**stamp), int(checksum)) for name, (stamp, checksum) in read["files"].items()}
            return cls(folder, files, {path: FileStamp(**stamp) for path, stamp in read["sources"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @classmethod
    def read_verified(cls, folder: Path) -> GGUFFolderManifest | None:
        """The list of a folder all of whose files are as they were written; None where one is not."""
        contents = cls.read_folder(folder)
        if contents is None:
            return None
        try:
            now = {name: FileStamp.from_file(folder / name) for name in contents.files}
            moved = [name for name, (stamp, _) in contents.files.items() if now[name] != stamp]
            if any(now[name].size != contents.files[name][0].size for name in moved):
                return None
            if any(_compute_checksum(folder / name) != contents.files[name][1] for name in moved):
                return None
        except OSError:
            return None
        return replace(contents, files={name: (now[name], contents.files[name][1]) for name in now})

    def has_source(self, file: Path) -> bool:
        """Whether this was made from a file, as far as is seen of it without reading it."""
        return self.sources.get(str(file.resolve())) == FileStamp.from_file(file)

    def add_source(self, file: Path) -> None:
        """Write the list anew: it is used now, for this file."""
        path = str(file.resolve())
        others = [(each, stamp) for each, stamp in self.sources.items() if each != path]
        self.write_manifest([*others, (path, FileStamp.from_file(file))][-MAX_SOURCES:])

    def write_manifest(self, sources: Sequence[tuple[str, FileStamp]]) -> None:
        """Put the list into the folder, whole."""
        content = {
            "format": FORMAT_VERSION,
            "files": {name: [asdict(stamp), checksum] for name, (stamp, checksum) in self.files.items()},
            "sources": {path: asdict(stamp) for path, stamp in sources},
        }
        temporary = self.folder / f".{self.FILE_NAME}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(content, indent=1), "utf-8")
        temporary.replace(self.folder / self.FILE_NAME)

    def with_folder(self, folder: Path) -> GGUFFolderManifest:
        """The same list of a folder that was renamed."""
        return replace(self, folder=folder)


def create_manifest(folder: Path) -> GGUFFolderManifest:
    """The list of a folder that was just written; it is in it from now on."""
    files = {path.name: (FileStamp.from_file(path), _compute_checksum(path)) for path in sorted(folder.iterdir())}
    contents = GGUFFolderManifest(folder, files, {})
    contents.write_manifest([])
    return contents


def _compute_checksum(file: Path) -> int:
    """A CRC: it is damage that is looked for, not deceit."""
    checksum = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
