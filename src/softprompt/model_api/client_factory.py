"""Creates the client of an API. Its package, openai, is imported only here, since it is an optional dependency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from softprompt.errors import SettingError
from softprompt.model_api.api_endpoint import ApiEndpoint
from softprompt.model_api.request_limits import RequestLimits

if TYPE_CHECKING:
    from softprompt.model_api.chat_client import ChatClient


def create_chat_client(
    endpoint: ApiEndpoint, model: str, cache_folder: Path, limits: RequestLimits | None = None
) -> ChatClient:
    """Create a client, without sending a request: the first request shows whether key and model are valid.

    Args:
        endpoint: URL and key of the API.
        model: name of the API's model.
        cache_folder: folder of the replies, which are not requested twice.
        limits: limits on the requests.

    Raises:
        SettingError: openai is not installed.
    """
    try:
        from softprompt.model_api.chat_client import ChatClient
        from softprompt.model_api.reply_cache import ReplyCache
    except ImportError as error:
        raise SettingError("openai is not installed: pip install 'softprompt[compare]'") from error
    return ChatClient(endpoint, model, limits or RequestLimits(), ReplyCache(cache_folder, endpoint.url, model))
