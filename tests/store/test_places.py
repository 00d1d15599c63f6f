"""What names a place, and what does not. A password is never repeated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from softprompt.errors import SettingError
from softprompt.store import Store
from softprompt.store.local_folders import LocalFolders
from softprompt.store.object_folders import ObjectFolders
from softprompt.store.places import backend_at, folders_at, place_of
from softprompt.store.postgres import Postgres
from softprompt.store.sqlite import Sqlite


@pytest.mark.parametrize("place", ["store", "/a/b", "my:store", "C:/store", "a b", Path("store")])
def test_a_folder_is_a_folder(place: str | Path) -> None:
    backend = backend_at(place)
    assert isinstance(backend, Sqlite)
    assert (backend.name, backend.beside) == (str(place), Path(place, "prompts"))
    assert isinstance(folders_at(place), LocalFolders)


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
def test_a_database_is_named_without_its_password(url: str, shown: str) -> None:
    backend = backend_at(url)
    assert isinstance(backend, Postgres)
    assert (backend.name, backend.beside) == (shown, None)
    assert "geheim" not in backend.empty + backend.foreign


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("postgresq://ada:geheim@db/prompts", "what begins with postgresq: is neither"),
        ("mysql://ada:geheim@db/prompts", "what begins with mysql: is neither"),
        ("postgresql+asyncpg://ada:geheim@db/p", "what begins with postgresql[+]asyncpg: is neither"),
        ("postgresql:/ada:geheim@db/prompts", "what begins with postgresql: is neither"),
        (Path("postgresql://ada:geheim@db/prompts"), "what begins with postgresql: is neither"),
        ("sqlite:///store.sqlite", "what begins with sqlite: is neither"),
        ("s3://bucket/store", "what begins with s3: is neither"),
        ("postgresql://ada:geheim@db:port/prompts", "cannot be read: .* in a password %40 for @"),
    ],
)
@pytest.mark.parametrize("create", [False, True])
def test_what_is_no_store(place: str, said: str, create: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=said) as caught:
        Store.open(place, create=create)
    assert "geheim" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_for_objects() -> None:
    folders = folders_at("memory://prompts/of/acme/")
    assert isinstance(folders, ObjectFolders)
    assert folders.name == "memory://prompts/of/acme"
    assert isinstance(folders_at("file:///a%20b"), LocalFolders)
    assert folders_at("file:///a%20b").name == "/a b"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s4://bucket/prefix", "s4:// is no place for prompts: Protocol not known: s4"),
        ("s3:/bucket/prefix", "is no place for prompts: write a folder, or a URL such as s3://bucket/prefix"),
        ("memory://", "names no place"),
        ("s3:///", "names no place"),
        ("s3://AKIA:geheim@bucket/prefix", "the environment holds the credentials"),
        ("s3://bucket/prefix?key=geheim", "the environment holds the credentials"),
        ("simplecache::s3://bucket/prefix", "the environment holds the credentials"),
    ],
)
def test_what_is_no_place_for_prompts(place: str, said: str) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        folders_at(place)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "place", "said"),
    [
        ("psycopg", "postgresql://db/prompts", r"needs psycopg: pip install 'softprompt\[postgres\]'"),
        ("s3fs", "s3://bucket/prefix", r"s3:// needs another package .*pip install 'softprompt\[s3\]'"),
    ],
)
def test_what_is_not_installed(missing: str, place: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(SettingError, match=said):
        backend_at(place) if missing == "psycopg" else folders_at(place)


def test_a_folder_is_remembered_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of("prompts") == place_of(Path("prompts")) == str(tmp_path / "prompts")
    assert place_of("s3://bucket/prefix/") == "s3://bucket/prefix"
