"""The store: whose prompts there are and in which versions, in a database, and the prompts in folders beside it."""

from softprompt.errors import SettingError

try:
    import sqlalchemy as _  # noqa: F401
except ModuleNotFoundError as error:
    raise SettingError("the store needs SQLAlchemy: pip install 'softprompt[serve]'") from error

from softprompt.store.collecting import Collected
from softprompt.store.event import Event
from softprompt.store.key import Key, Scope
from softprompt.store.keys import Keys
from softprompt.store.names import ACTIVE, DEFAULT_TENANT
from softprompt.store.page import Page
from softprompt.store.store import Store
from softprompt.store.verifying import Damage, Verified
from softprompt.store.version import Alias, StoredPrompt, Version

__all__ = [
    "ACTIVE",
    "DEFAULT_TENANT",
    "Alias",
    "Collected",
    "Damage",
    "Event",
    "Key",
    "Keys",
    "Page",
    "Scope",
    "Store",
    "StoredPrompt",
    "Verified",
    "Version",
]
