"""Manifest of an unpacked GGUF folder: size, times and checksum of each file, and the GGUF files that it came from.

It detects damage. A checksum is compared only if the size is right and the times changed, so most starts read each file
only once.
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
MAX_SOURCES = 32  # GGUF files with the same content: copies, and paths that a file was moved from
_CHUNK_BYTES = 2**22


@dataclass(frozen=True)
class FileStamp:
    """Metadata of a file, known without reading its content.

    Attributes:
        size: size in bytes.
        modified: time of the last modification, in nanoseconds.
        changed: time of the last status change, in nanoseconds; programs cannot set it.
    """

    size: int
    modified: int
    changed: int

    @classmethod
    def from_file(cls, file: Path) -> FileStamp:
        """Read the metadata of a file."""
        stat = file.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True)
class GGUFFolderManifest:
    """Manifest of an unpacked folder.

    Attributes:
        folder: path of the folder.
        files: stamp and checksum of each file, by name.
        sources: stamps of the GGUF files with this content, by absolute path; the latest is last.
    """

    FILE_NAME: ClassVar[str] = "contents.json"

    folder: Path
    files: dict[str, tuple[FileStamp, int]]
    sources: dict[str, FileStamp]

    @classmethod
    def read_folder(cls, folder: Path) -> GGUFFolderManifest | None:
        """Read the manifest of a folder; None if it is missing or unreadable."""
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
        """Read the manifest of a folder and verify all its files; None if the manifest or a file is damaged."""
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
        """Return True if the file is a known source and its metadata is unchanged."""
        return self.sources.get(str(file.resolve())) == FileStamp.from_file(file)

    def add_source(self, file: Path) -> None:
        """Add a source, or move it to the end, and write the manifest."""
        path = str(file.resolve())
        others = [(source, stamp) for source, stamp in self.sources.items() if source != path]
        self.write_manifest([*others, (path, FileStamp.from_file(file))][-MAX_SOURCES:])

    def write_manifest(self, sources: Sequence[tuple[str, FileStamp]]) -> None:
        """Write the manifest to the folder atomically."""
        content = {
            "format": FORMAT_VERSION,
            "files": {name: [asdict(stamp), checksum] for name, (stamp, checksum) in self.files.items()},
            "sources": {path: asdict(stamp) for path, stamp in sources},
        }
        temporary = self.folder / f".{self.FILE_NAME}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(content, indent=1), "utf-8")
        temporary.replace(self.folder / self.FILE_NAME)

    def with_folder(self, folder: Path) -> GGUFFolderManifest:
        """Return the manifest for a renamed folder."""
        return replace(self, folder=folder)


def create_manifest(folder: Path) -> GGUFFolderManifest:
    """Create and write the manifest of a new folder."""
    files = {path.name: (FileStamp.from_file(path), _compute_checksum(path)) for path in sorted(folder.iterdir())}
    contents = GGUFFolderManifest(folder, files, {})
    contents.write_manifest([])
    return contents


def _compute_checksum(file: Path) -> int:
    """Compute the CRC-32 of a file: the manifest detects damage, not manipulation."""
    checksum = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
