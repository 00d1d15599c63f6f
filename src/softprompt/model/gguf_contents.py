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

FORMAT = 1
SOURCES = 32  # as many GGUF files are remembered as one content may have: copies, and places it was moved from
_CHUNK = 2**22


@dataclass(frozen=True)
class Stamp:
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
    def of(cls, file: Path) -> Stamp:
        """A file's."""
        stat = file.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True)
class Contents:
    """A folder's list of itself.

    Attributes:
        folder: where it lies.
        files: by name, the stamp and the checksum of each.
        sources: by whole path, the stamps of GGUF files with this content; the last is the latest.
    """

    FILE: ClassVar[str] = "contents.json"

    folder: Path
    files: dict[str, tuple[Stamp, int]]
    sources: dict[str, Stamp]

    @classmethod
    def read(cls, folder: Path) -> Contents | None:
        """The list as it was written; None where there is none that can be read."""
        try:
            read: dict[str, Any] = json.loads((folder / cls.FILE).read_text("utf-8"))
            if read["format"] != FORMAT:
                return None
            files = {name: (Stamp(**stamp), int(checksum)) for name, (stamp, checksum) in read["files"].items()}
            return cls(folder, files, {path: Stamp(**stamp) for path, stamp in read["sources"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @classmethod
    def of(cls, folder: Path) -> Contents | None:
        """The list of a folder all of whose files are as they were written; None where one is not."""
        contents = cls.read(folder)
        if contents is None:
            return None
        try:
            now = {name: Stamp.of(folder / name) for name in contents.files}
            moved = [name for name, (stamp, _) in contents.files.items() if now[name] != stamp]
            if any(now[name].size != contents.files[name][0].size for name in moved):
                return None
            if any(_checksum(folder / name) != contents.files[name][1] for name in moved):
                return None
        except OSError:
            return None
        return replace(contents, files={name: (now[name], contents.files[name][1]) for name in now})

    def remembers(self, file: Path) -> bool:
        """Whether this was made from a file, as far as is seen of it without reading it."""
        return self.sources.get(str(file.resolve())) == Stamp.of(file)

    def remember(self, file: Path) -> None:
        """Write the list anew: it is used now, for this file."""
        path = str(file.resolve())
        others = [(each, stamp) for each, stamp in self.sources.items() if each != path]
        self.write([*others, (path, Stamp.of(file))][-SOURCES:])

    def write(self, sources: Sequence[tuple[str, Stamp]]) -> None:
        """Put the list into the folder, whole."""
        content = {
            "format": FORMAT,
            "files": {name: [asdict(stamp), checksum] for name, (stamp, checksum) in self.files.items()},
            "sources": {path: asdict(stamp) for path, stamp in sources},
        }
        temporary = self.folder / f".{self.FILE}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(content, indent=1), "utf-8")
        temporary.replace(self.folder / self.FILE)

    def moved(self, folder: Path) -> Contents:
        """The same list of a folder that was renamed."""
        return replace(self, folder=folder)


def sealed(folder: Path) -> Contents:
    """The list of a folder that was just written; it is in it from now on."""
    files = {path.name: (Stamp.of(path), _checksum(path)) for path in sorted(folder.iterdir())}
    contents = Contents(folder, files, {})
    contents.write([])
    return contents


def _checksum(file: Path) -> int:
    """A CRC: it is damage that is looked for, not deceit."""
    checksum = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
