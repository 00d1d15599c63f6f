"""Prompts behind OpenAI's API: one copy of the model answers for all of them."""

from softprompt.errors import SettingError

try:
    import fastapi as _  # noqa: F401
except ModuleNotFoundError as error:
    raise SettingError("a server needs FastAPI: pip install 'softprompt[serve]'") from error
