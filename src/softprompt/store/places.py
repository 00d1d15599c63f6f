"""What the words that name a place mean. Each kind of place is chosen here, once, and nobody asks for it again."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from softprompt.errors import SettingError, first_line
from softprompt.store.backend import Backend
from softprompt.store.folders import Folders
from softprompt.store.local_folders import LocalFolders
from softprompt.store.object_folders import ObjectFolders
from softprompt.store.postgres import Postgres
from softprompt.store.sqlite import Sqlite

POSTGRES = ("postgresql", "postgresql+psycopg", "postgres")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]+):/")  # of one letter it is a disk of Windows'


def backend_at(place: str | Path) -> Backend:
    """The database of a store.

    Args:
        place: a folder, or a URL such as `postgresql://user@host/database`.

    Raises:
        SettingError: it is neither.
    """
    scheme = _scheme(place)
    if scheme is None:
        return Sqlite(Path(place))
    if scheme not in POSTGRES or isinstance(place, Path) or "://" not in place:
        raise SettingError(  # the rest is not shown: a password may be in it
            f"a store is a folder or postgresql://USER@HOST/DATABASE, and what begins with {scheme}: is neither"
        )
    try:
        return Postgres(make_url(place.replace(scheme, "postgresql", 1)))
    except (ArgumentError, ValueError) as error:
        raise SettingError(
            "the store's URL cannot be read: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, in a password "
            "%40 for @, %2F for / and %3A for :"
        ) from error


def folders_at(place: str | Path) -> Folders:
    """Where prompts lie.

    Args:
        place: a folder, or a URL that fsspec knows, such as `s3://bucket/prefix`.

    Raises:
        SettingError: it is neither, or what reaches it is not installed.
    """
    scheme = _scheme(place)
    if scheme is None:
        return LocalFolders(Path(place))
    if isinstance(place, Path) or "://" not in place:
        raise SettingError(f"{place} is no place for prompts: write a folder, or a URL such as s3://bucket/prefix")
    parts = urlsplit(place)
    if scheme == "file":
        return LocalFolders(Path(unquote(parts.path)))
    if parts.password or parts.query or "::" in place:
        raise SettingError(f"a place for prompts is {scheme}://… and a path: the environment holds the credentials")
    if not (parts.netloc or parts.path.strip("/")):
        raise SettingError(f"{place} names no place: write it as {scheme}://bucket/prefix")
    return _objects(place.rstrip("/"), scheme)


def place_of(place: str | Path) -> str:
    """A place for prompts as it is remembered: a folder means the same wherever somebody stands."""
    return str(Path(place).absolute()) if _scheme(place) is None else str(place).rstrip("/")


def _scheme(place: str | Path) -> str | None:
    found = _SCHEME.match(str(place))
    return found[1].lower() if found else None


def _objects(place: str, scheme: str) -> Folders:
    from fsspec.core import url_to_fs  # takes a while, and a folder needs none of it

    try:
        files, root = url_to_fs(place, use_listings_cache=False)
    except ImportError as error:
        extra = "softprompt[s3]" if scheme in ("s3", "s3a") else "what fsspec names"
        raise SettingError(f"{scheme}:// needs another package ({error}): pip install '{extra}'") from error
    except ValueError as error:
        raise SettingError(f"{scheme}:// is no place for prompts: {first_line(error)}") from error
    return ObjectFolders(place, files, root.rstrip("/"))
