"""Schemas of the models that requests can use."""

from __future__ import annotations

from typing import Literal

from softprompt.server.schemas.field_types import StrictModel


class ModelCard(StrictModel):
    """A model in a list: the base model, or a prompt of the tenant.

    Attributes:
        id: value of `model` in requests.
        created: creation time, Unix time in seconds.
        owned_by: tenant of the prompt.
        parent: base model of the prompt.
        root: version that the prompt's name resolves to.
        task: kind of the prompt's task.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    parent: str | None = None
    root: str | None = None
    task: str | None = None


class ModelList(StrictModel):
    """A page of models.

    Attributes:
        first_id: first id of the page.
        last_id: last id of the page, which is `after` of the next page.
        has_more: whether there is a next page.
    """

    object: Literal["list"] = "list"
    data: list[ModelCard]
    first_id: str | None
    last_id: str | None
    has_more: bool
