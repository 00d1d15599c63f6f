"""Saved prompts, the artifact between training and use: a folder that is also a peft adapter whenever possible."""

from softprompt.saved.manifest import BaseModelInfo, Manifest
from softprompt.saved.peft_adapter_reader import read_peft_adapter
from softprompt.saved.peft_format import serialize_cartridge_adapter, serialize_peft_adapter
from softprompt.saved.prompt_composition import compose_prompts
from softprompt.saved.saved_prompt import SavedPrompt

__all__ = [
    "BaseModelInfo",
    "Manifest",
    "SavedPrompt",
    "compose_prompts",
    "read_peft_adapter",
    "serialize_cartridge_adapter",
    "serialize_peft_adapter",
]
