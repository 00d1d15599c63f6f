"""Locations of databases and artifacts: valid and invalid ones, and messages without passwords."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from softprompt.errors import SettingError
from softprompt.registry import PromptRegistry
from softprompt.registry.local_artifact_store import LocalArtifactStore
from softprompt.registry.locations import normalize_location, resolve_artifact_store, resolve_database_backend
from softprompt.registry.object_artifact_store import ObjectArtifactStore
from softprompt.registry.postgres_backend import PostgresBackend
from softprompt.registry.sqlite_backend import SqliteBackend


@pytest.mark.parametrize("place", ["store", "/a/b", "my:store", "C:/store", "a b", Path("store")])
def test_a_path_resolves_to_sqlite_and_a_local_artifact_store(place: str | Path) -> None:
    backend = resolve_database_backend(place)
    assert isinstance(backend, SqliteBackend)
    assert (backend.display_name, backend.default_artifact_path) == (str(place), Path(place, "prompts"))
    assert isinstance(resolve_artifact_store(place), LocalArtifactStore)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:geheim@db:5433/prompts", "postgresql://ada@db:5433/prompts"),
        ("postgresql+psycopg://ada:geheim@db/prompts", "postgresql://ada@db/prompts"),
        ("postgres://db/prompts?password=geheim&user=ada", "postgresql://db/prompts"),
        ("postgresql:///prompts?host=/run", "postgresql:///prompts"),
        ("postgresql://[::1]/prompts", "postgresql://[::1]/prompts"),
    ],
)
def test_the_display_name_of_a_database_has_no_password(url: str, shown: str) -> None:
    backend = resolve_database_backend(url)
    assert isinstance(backend, PostgresBackend)
    assert (backend.display_name, backend.default_artifact_path) == (shown, None)
    assert "geheim" not in backend.empty_message + backend.foreign_message


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("postgresq://ada:geheim@db/prompts", "unsupported registry URL postgresq:"),
        ("mysql://ada:geheim@db/prompts", "unsupported registry URL mysql:"),
        ("postgresql+asyncpg://ada:geheim@db/p", "unsupported registry URL postgresql[+]asyncpg:"),
        ("postgresql:/ada:geheim@db/prompts", "unsupported registry URL postgresql:"),
        (Path("postgresql://ada:geheim@db/prompts"), "unsupported registry URL postgresql:"),
        ("sqlite:///store.sqlite", "unsupported registry URL sqlite:"),
        ("s3://bucket/store", "unsupported registry URL s3:"),
        ("postgresql://ada:geheim@db:port/prompts", "is malformed: .* with %40 for @"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_invalid_registry_urls_are_rejected(
    place: str, said: str, create: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=said) as caught:
        PromptRegistry.open(place, create=create)
    assert "geheim" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_urls_resolve_to_artifact_stores() -> None:
    folders = resolve_artifact_store("memory://prompts/of/acme/")
    assert isinstance(folders, ObjectArtifactStore)
    assert folders.display_name == "memory://prompts/of/acme"
    assert isinstance(resolve_artifact_store("file:///a%20b"), LocalArtifactStore)
    assert resolve_artifact_store("file:///a%20b").display_name == "/a b"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s4://bucket/prefix", "unsupported artifact location s4://: Protocol not known: s4"),
        (
            "s3:/bucket/prefix",
            "invalid artifact location s3:/bucket/prefix: use a folder, or a URL such as s3://bucket/prefix",
        ),
        ("memory://", "is incomplete"),
        ("s3:///", "is incomplete"),
        ("s3://AKIA:geheim@bucket/prefix", "set credentials in the environment"),
        ("s3://bucket/prefix?key=geheim", "set credentials in the environment"),
        ("simplecache::s3://bucket/prefix", "set credentials in the environment"),
    ],
)
def test_invalid_artifact_locations_are_rejected(place: str, said: str) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        resolve_artifact_store(place)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "place", "said"),
    [
        ("psycopg", "postgresql://db/prompts", r"needs psycopg: pip install 'softprompt\[postgres\]'"),
        ("s3fs", "s3://bucket/prefix", r"s3:// needs another package .*pip install 'softprompt\[s3\]'"),
    ],
)
def test_the_error_of_a_missing_driver_names_the_package(
    missing: str, place: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(SettingError, match=said):
        resolve_database_backend(place) if missing == "psycopg" else resolve_artifact_store(place)


def test_normalizing_a_folder_makes_the_path_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert normalize_location("prompts") == normalize_location(Path("prompts")) == str(tmp_path / "prompts")
    assert normalize_location("s3://bucket/prefix/") == "s3://bucket/prefix"
