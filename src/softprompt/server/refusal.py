"""What the server does not do, and what it says then: a status and an error in OpenAI's shape. It knows no FastAPI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A request that is refused.

    Args:
        status: of the answer.
        message: what is wrong, and what to do.
        kind: OpenAI's `type` of the error.
        code: OpenAI's `code`, by which programs tell errors apart.
        param: the field that is wrong, or None.
        headers: of the answer, beside the usual.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def json(self) -> bytes:
        """The answer's bytes."""
        return json.dumps(self.body()).encode()
