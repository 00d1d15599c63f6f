"""The saved prompt: the one artifact between making and using. A folder, and where it can be, also a peft adapter."""

from softprompt.saved.composing import composed
from softprompt.saved.manifest import Base, Manifest
from softprompt.saved.peft_format import read_peft, write_peft
from softprompt.saved.saved_prompt import SavedPrompt

__all__ = ["Base", "Manifest", "SavedPrompt", "composed", "read_peft", "write_peft"]
