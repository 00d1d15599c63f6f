"""The error response of the server: a status and an error in OpenAI's format. Independent of FastAPI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An error that ends a request, in OpenAI's format.

    Args:
        status: HTTP status code.
        message: problem and remedy, for the client.
        error_type: OpenAI's `type` of the error.
        code: OpenAI's `code`, which programs branch on.
        param: field of the request that caused the error, if any.
        headers: additional headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.type, self.code, self.param = status, message, error_type, code, param
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """Return the error in OpenAI's format."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def to_json(self) -> bytes:
        """Encode the error as the body of a response."""
        return json.dumps(self.to_dict()).encode()
