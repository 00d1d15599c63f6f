"""Locations of databases and artifact stores. Only this module maps a location to its implementation."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from softprompt.errors import SettingError, summarize_error
from softprompt.registry.artifact_store import ArtifactStore
from softprompt.registry.database_backend import DatabaseBackend
from softprompt.registry.local_artifact_store import LocalArtifactStore
from softprompt.registry.object_artifact_store import ObjectArtifactStore
from softprompt.registry.postgres_backend import PostgresBackend
from softprompt.registry.sqlite_backend import SqliteBackend

POSTGRES_SCHEMES = ("postgresql", "postgresql+psycopg", "postgres")
_SCHEME_PATTERN = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]+):/")  # a single letter is a Windows drive


def resolve_database_backend(location: str | Path) -> DatabaseBackend:
    """Return the database backend for the location of a registry.

    Args:
        location: a folder, or a URL such as `postgresql://user@host/database`.

    Raises:
        SettingError: the location is neither.
    """
    scheme = _parse_scheme(location)
    if scheme is None:
        return SqliteBackend(Path(location))
    if scheme not in POSTGRES_SCHEMES or isinstance(location, Path) or "://" not in location:
        raise SettingError(  # without the rest of the URL, which may contain a password
            f"unsupported registry URL {scheme}:…: use a folder or postgresql://USER@HOST/DATABASE"
        )
    try:
        return PostgresBackend(make_url(location.replace(scheme, "postgresql", 1)))
    except (ArgumentError, ValueError) as error:
        raise SettingError(
            "the registry's URL is malformed: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @, "
            "%2F for / and %3A for : in the password"
        ) from error


def resolve_artifact_store(location: str | Path) -> ArtifactStore:
    """Return the artifact store at a location.

    Args:
        location: a folder, or a URL that fsspec supports, such as `s3://bucket/prefix`.

    Raises:
        SettingError: the location is neither, or a package for its scheme is missing.
    """
    scheme = _parse_scheme(location)
    if scheme is None:
        return LocalArtifactStore(Path(location))
    if isinstance(location, Path) or "://" not in location:
        raise SettingError(f"invalid artifact location {location}: use a folder, or a URL such as s3://bucket/prefix")
    parts = urlsplit(location)
    if scheme == "file":
        return LocalArtifactStore(Path(unquote(parts.path)))
    if parts.password or parts.query or "::" in location:
        raise SettingError(
            f"an artifact location is {scheme}://… and a path: remove password and options, and set credentials in the "
            "environment"
        )
    if not (parts.netloc or parts.path.strip("/")):
        raise SettingError(f"the artifact location {location} is incomplete: write it as {scheme}://bucket/prefix")
    return _open_object_store(location.rstrip("/"), scheme)


def normalize_location(location: str | Path) -> str:
    """Return the artifact location to store: a folder becomes absolute, independent of the working directory."""
    return str(Path(location).absolute()) if _parse_scheme(location) is None else str(location).rstrip("/")


def _parse_scheme(location: str | Path) -> str | None:
    match = _SCHEME_PATTERN.match(str(location))
    return match[1].lower() if match else None


def _open_object_store(location: str, scheme: str) -> ArtifactStore:
    from fsspec.core import url_to_fs  # slow to import, and not needed for folders

    try:
        filesystem, root = url_to_fs(location, use_listings_cache=False)
    except ImportError as error:
        extra = "softprompt[s3]" if scheme in ("s3", "s3a") else "what fsspec names"
        raise SettingError(f"{scheme}:// needs another package ({error}): pip install '{extra}'") from error
    except ValueError as error:
        raise SettingError(f"unsupported artifact location {scheme}://: {summarize_error(error)}") from error
    return ObjectArtifactStore(location, filesystem, root.rstrip("/"))
