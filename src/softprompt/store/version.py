"""What the store tells about a prompt and its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Version:
    """One version of a prompt. It never changes.

    Attributes:
        tenant: whose it is.
        name: the prompt's.
        number: counted from 1; a number that was given is not given again.
        content: the 64 digits of the saved prompt's content hash.
        size: of its files, in bytes.
        method: the name of the method that made it.
        num_virtual_tokens: P.
        task: the kind of its task.
        base: what the base model was loaded as.
        fingerprint: names the base model's weights.
        created_at: when it was added, in UTC.
        created_by: who added it.
        note: what they said about it.
    """

    tenant: str
    name: str
    number: int
    content: str
    size: int
    method: str
    num_virtual_tokens: int
    task: str
    base: str
    fingerprint: str
    created_at: datetime
    created_by: str
    note: str

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass(frozen=True)
class StoredPrompt:
    """A prompt with its versions.

    Attributes:
        tenant: whose it is.
        name: its name.
        aliases: each with the number of the version that it points to.
        versions: in the order of their numbers. A page of prompts has the newest, and those that an alias points to.
        num_versions: how many there are.
    """

    tenant: str
    name: str
    aliases: Mapping[str, int]
    versions: tuple[Version, ...]
    num_versions: int


@dataclass(frozen=True)
class Alias:
    """An alias with the version that it points to.

    Attributes:
        name: the prompt's.
        alias: its own.
        version: the version.
    """

    name: str
    alias: str
    version: Version
