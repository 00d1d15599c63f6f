"""Prompt registry: versions, aliases and API keys of tenants in a database, and saved prompts in an artifact store."""

from softprompt.errors import SettingError

try:
    import sqlalchemy as _  # noqa: F401
except ModuleNotFoundError as error:
    raise SettingError("the prompt registry needs SQLAlchemy: pip install 'softprompt[serve]'") from error

from softprompt.registry.api_key import ApiKey, ApiKeyScope
from softprompt.registry.api_key_registry import ApiKeyRegistry
from softprompt.registry.audit_event import AuditEvent
from softprompt.registry.garbage_collection import GarbageReport
from softprompt.registry.integrity import CorruptArtifact, IntegrityReport
from softprompt.registry.pagination import ResultPage
from softprompt.registry.prompt_reference import ACTIVE_ALIAS, DEFAULT_TENANT
from softprompt.registry.prompt_registry import PromptRegistry
from softprompt.registry.prompt_version import PromptAlias, PromptVersion, RegisteredPrompt

__all__ = [
    "ACTIVE_ALIAS",
    "DEFAULT_TENANT",
    "ApiKey",
    "ApiKeyRegistry",
    "ApiKeyScope",
    "AuditEvent",
    "CorruptArtifact",
    "GarbageReport",
    "IntegrityReport",
    "PromptAlias",
    "PromptRegistry",
    "PromptVersion",
    "RegisteredPrompt",
    "ResultPage",
]
