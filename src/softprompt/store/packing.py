"""A folder's files as one object, so that it is there whole or not at all: a ZIP file without compression."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

UNIX = 3
_ENCRYPTED = 0x1 | 0x40  # flags of an entry


def pack(files: Mapping[str, bytes]) -> bytes:
    """Files by their names; the same ones give the same bytes."""
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = ZipInfo(name)
            entry.create_system, entry.external_attr = UNIX, 0o644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def unpack(packed: bytes) -> dict[str, bytes]:
    """The files again; none where these bytes are not what `pack` gives.

    Whoever may write to the place can put anything there. Only entries that are stored as they are, once, and not
    encrypted are read, so nothing is decompressed and nothing comes out that is larger than what went in.
    """
    try:
        with ZipFile(BytesIO(packed)) as archive:
            entries = archive.infolist()
            if not all(map(_is_packed, entries)) or sum(entry.file_size for entry in entries) > len(packed):
                return {}
            found = {entry.filename: archive.read(entry) for entry in entries}
    except Exception:  # zipfile raises what comes up in it: BadZipFile, zlib.error, struct.error, OverflowError, …
        return {}
    return found if len(found) == len(entries) else {}


def _is_packed(entry: ZipInfo) -> bool:
    """Whether `pack` could have written an entry."""
    return (
        entry.compress_type == ZIP_STORED
        and not entry.flag_bits & _ENCRYPTED
        and entry.file_size == entry.compress_size
    )
