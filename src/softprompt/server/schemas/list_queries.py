"""Query parameters of paginated lists: OpenAI's `limit` and `after`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_PAGE_SIZE = 1000  # items
DEFAULT_PAGE_SIZE = 100  # items; `/v1/models` has MAX_PAGE_SIZE instead, as OpenAI's clients request no second page
MAX_ID_LENGTH = 201  # characters: a prompt's name, @ and an alias

PageLimit = Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE, description="Maximum number of items.")]
AfterName = Annotated[str, Field(max_length=MAX_ID_LENGTH, description="The id after which the page starts.")]
AfterNumber = Annotated[int, Field(ge=1, lt=2**63, description="The id after which the page starts.")]
SearchText = Annotated[str, Field(max_length=100, description="Lists only names that contain this text.")]


class ListQuery(BaseModel):
    """The query of a list of models."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: PageLimit = MAX_PAGE_SIZE
    after: AfterName | None = None


class PromptListQuery(ListQuery):
    """The query of a list of prompts."""

    limit: PageLimit = DEFAULT_PAGE_SIZE
    search: SearchText = ""


class NumberedListQuery(BaseModel):
    """The query of a list with numeric ids, the largest first."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: PageLimit = DEFAULT_PAGE_SIZE
    after: AfterNumber | None = None
