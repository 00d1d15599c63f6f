"""Value types of registered prompts, versions and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class PromptVersion:
    """An immutable version of a registered prompt.

    Attributes:
        tenant: name of the tenant that owns the prompt.
        name: name of the prompt.
        number: version number, from 1; numbers are never reused.
        digest: the 64 hexadecimal digits of the saved prompt's content hash.
        size_bytes: size of the saved prompt's files, in bytes.
        method: name of the training method.
        num_virtual_tokens: number of virtual tokens, P.
        task: kind of the task.
        base_model: name that the base model was loaded by.
        fingerprint: fingerprint of the base model's weights.
        created_at: time of registration, in UTC.
        created_by: actor that registered the version.
        note: free text given at registration.
    """

    tenant: str
    name: str
    number: int
    digest: str
    size_bytes: int
    method: str
    num_virtual_tokens: int
    task: str
    base_model: str
    fingerprint: str
    created_at: datetime
    created_by: str
    note: str

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass(frozen=True)
class RegisteredPrompt:
    """A registered prompt with its versions.

    Attributes:
        tenant: name of the tenant that owns the prompt.
        name: name of the prompt.
        aliases: version number of each alias.
        versions: versions in ascending order. A page contains only the newest ones and those with an alias.
        num_versions: total number of versions.
    """

    tenant: str
    name: str
    aliases: Mapping[str, int]
    versions: tuple[PromptVersion, ...]
    num_versions: int


@dataclass(frozen=True)
class PromptAlias:
    """An alias with the version that the alias points to.

    Attributes:
        name: name of the prompt.
        alias: name of the alias.
        version: the version.
    """

    name: str
    alias: str
    version: PromptVersion
