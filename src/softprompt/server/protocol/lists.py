"""How a page of a list is asked for: OpenAI's `limit` and `after`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = 1000  # items of a page
PAGE = 100  # items where nobody says how many; of `/v1/models`, which clients ask for no second page of, it is MOST
LONGEST_ID = 201  # a prompt's name, @, and an alias

Limit = Annotated[int, Field(ge=1, le=MOST, description="How many at most.")]
Name = Annotated[str, Field(max_length=LONGEST_ID, description="The id that the page comes behind.")]
Number = Annotated[int, Field(ge=1, lt=2**63, description="The id that the page comes behind.")]
Part = Annotated[str, Field(max_length=100, description="Only names with this in them.")]


class ListQuery(BaseModel):
    """What may be asked of a list of models."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: Limit = MOST
    after: Name | None = None


class PromptQuery(ListQuery):
    """Of a list of prompts."""

    limit: Limit = PAGE
    search: Part = ""


class NumberQuery(BaseModel):
    """Of a list of what has numbers, the largest first."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: Limit = PAGE
    after: Number | None = None
