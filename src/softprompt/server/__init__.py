"""HTTP server with OpenAI's API: all prompts share one copy of the base model."""

from softprompt.errors import SettingError

try:
    import fastapi as _  # noqa: F401
except ModuleNotFoundError as error:
    raise SettingError("the server needs FastAPI: run pip install 'softprompt[serve]'") from error
