"""Archive of an artifact: its files as one object, which exists whole or not at all (ZIP without compression)."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

ZIP_SYSTEM_UNIX = 3
_ENCRYPTED_FLAGS = 0x1 | 0x40  # flag bits of an encrypted entry


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Pack files into an archive. Equal files give equal bytes."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = ZipInfo(name)
            entry.create_system, entry.external_attr = ZIP_SYSTEM_UNIX, 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def unpack_files(archive_bytes: bytes) -> dict[str, bytes]:
    """Unpack the files of an archive. Bytes that `pack_files` cannot have written give no files.

    The storage is untrusted: every client with write access can put anything there. Only uncompressed, unencrypted
    entries with unique names are read, so the result is never larger than the archive.
    """
    try:
        with ZipFile(BytesIO(archive_bytes)) as archive:
            entries = archive.infolist()
            total_size = sum(entry.file_size for entry in entries)
            if not all(map(_is_stored_entry, entries)) or total_size > len(archive_bytes):
                return {}
            files = {entry.filename: archive.read(entry) for entry in entries}
    except Exception:  # zipfile lets many errors through: BadZipFile, zlib.error, struct.error, OverflowError, …
        return {}
    return files if len(files) == len(entries) else {}


def _is_stored_entry(entry: ZipInfo) -> bool:
    """Whether `pack_files` could have written an entry."""
    return (
        entry.compress_type == ZIP_STORED
        and not entry.flag_bits & _ENCRYPTED_FLAGS
        and entry.file_size == entry.compress_size
    )
