"""Translates errors of the openai package. No message contains the key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

from softprompt.errors import ModelApiError, summarize_error
from softprompt.model_api.api_endpoint import API_KEY_VARIABLE, ApiEndpoint

RETRYABLE_STATUSES = (408, 409)


@contextmanager
def translate_api_errors(endpoint: ApiEndpoint, model: str) -> Iterator[None]:
    """Translate errors of the openai package.

    Raises:
        ModelApiError: any error of the openai package.
    """
    try:
        yield
    except OpenAIError as error:
        # No cause: a traceback would show the server's message, and some servers repeat the key in it.
        raise _translate_error(error, endpoint, model) from None


def _translate_error(error: OpenAIError, endpoint: ApiEndpoint, model: str) -> ModelApiError:
    where = endpoint.url
    match error:
        case APIStatusError():
            return _translate_status_error(error, endpoint, model)
        case APITimeoutError():
            return ModelApiError(f"{where} timed out in every attempt: try again later, or choose another model")
        case APIConnectionError():
            why = endpoint.quote_message(summarize_error(error.__cause__ or error))
            return ModelApiError(
                f"{where} cannot be reached, or closed the connection{why}: check `base_url` and the network"
            )
    return ModelApiError(
        f"{where}: the request failed{endpoint.quote_message(summarize_error(error))}: "
        f"check `base_url` and {API_KEY_VARIABLE}"
    )


def _translate_status_error(error: APIStatusError, endpoint: ApiEndpoint, model: str) -> ModelApiError:
    where, status, words = endpoint.url, error.status_code, endpoint.quote_message(error.message.partition(" - ")[2])
    if status in (401, 403) and endpoint.key is None:
        return ModelApiError(f"{where} requires an API key ({status}): set {API_KEY_VARIABLE}")
    if status in (401, 403):
        return ModelApiError(
            f"{where} rejected the API key, or its access to {model} ({status}): check {API_KEY_VARIABLE}, "
            "or choose another model"
        )
    if status == 404:
        return ModelApiError(
            f"{where} has no model {model}, or is not such an API{words}: check its name and `base_url`"
        )
    if status == 429:
        return ModelApiError(
            f"{where} responded with 429 to every attempt{words}: wait, or raise the rate limit of the account"
        )
    if status in RETRYABLE_STATUSES or status >= 500:
        return ModelApiError(f"{where} responded with {status} to every attempt{words}: try again later")
    return ModelApiError(
        f"{where} rejected a request for {model} with {status}{words}: fix the cause, or choose another model"
    )
