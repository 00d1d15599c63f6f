"""What can be asked for as `model`."""

from __future__ import annotations

from typing import Literal

from softprompt.server.protocol.fields import Body


class Model(Body):
    """The base model, or a prompt of the caller's.

    Attributes:
        id: what to write as `model`.
        created: when, in seconds since 1970.
        owned_by: whose it is.
        parent: the base model behind a prompt.
        root: the version that a prompt's name means.
        task: the kind of a prompt's task.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    parent: str | None = None
    root: str | None = None
    task: str | None = None


class ModelList(Body):
    """A page of them.

    Attributes:
        first_id: of the page.
        last_id: of the page; the next one comes `after` it.
        has_more: whether there is a next one.
    """

    object: Literal["list"] = "list"
    data: list[Model]
    first_id: str | None
    last_id: str | None
    has_more: bool
