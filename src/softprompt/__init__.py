r"""softprompt: tune soft prompts on a frozen language model, and use them.

import softprompt

model = softprompt.load_model("smollm2-135m")
softprompt.tune(model, data="train.jsonl", validation="val.jsonl", output="prompts/reviews",
template="Review: {text}\nSentiment:", labels=["negative", "positive"])
prompt = softprompt.SavedPrompt.read("prompts/reviews")
softprompt.classify(model, prompt, ["a gorgeous, moving film"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from softprompt.collection_pause import pause_collection
from softprompt.wait_policy import choose_wait_policy

if TYPE_CHECKING:
    from softprompt.comparison import CompareSettings as CompareSettings
    from softprompt.comparison import compare as compare
    from softprompt.errors import SoftPromptError as SoftPromptError
    from softprompt.evaluation import Sampling as Sampling
    from softprompt.evaluation import classify as classify
    from softprompt.evaluation import evaluate as evaluate
    from softprompt.evaluation import extract as extract
    from softprompt.evaluation import respond as respond
    from softprompt.evaluation import tag as tag
    from softprompt.hub import pull as pull
    from softprompt.hub import push as push
    from softprompt.model import load_model as load_model
    from softprompt.saved import SavedPrompt as SavedPrompt
    from softprompt.store import Store as Store
    from softprompt.training import TuneSettings as TuneSettings
    from softprompt.training import tune as tune
    from softprompt.wrapper import DataCollatorForCausalLM as DataCollatorForCausalLM
    from softprompt.wrapper import SoftPromptModel as SoftPromptModel

__version__ = "0.1.0"

choose_wait_policy()  # before anything here imports torch

# Imported on first use: torch and transformers take seconds, which `softprompt --help` must not.
_HOMES = {
    "CompareSettings": "softprompt.comparison",
    "DataCollatorForCausalLM": "softprompt.wrapper",
    "Sampling": "softprompt.evaluation",
    "SavedPrompt": "softprompt.saved",
    "SoftPromptError": "softprompt.errors",
    "SoftPromptModel": "softprompt.wrapper",
    "Store": "softprompt.store",
    "TuneSettings": "softprompt.training",
    "classify": "softprompt.evaluation",
    "compare": "softprompt.comparison",
    "evaluate": "softprompt.evaluation",
    "extract": "softprompt.evaluation",
    "load_model": "softprompt.model",
    "pull": "softprompt.hub",
    "push": "softprompt.hub",
    "respond": "softprompt.evaluation",
    "tag": "softprompt.evaluation",
    "tune": "softprompt.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'softprompt' has no attribute {name!r}")
    with pause_collection():
        return getattr(import_module(_HOMES[name]), name)
