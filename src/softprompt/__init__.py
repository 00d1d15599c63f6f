r"""softprompt: tune soft prompts on a frozen language model, and use them.

import softprompt

model = softprompt.load_model("smollm2-135m")
softprompt.tune(model, data="train.jsonl", validation="val.jsonl", output="prompts/reviews",
                template="Review: {text}\nSentiment:", labels=["negative", "positive"])
prompt = softprompt.SavedPrompt.from_folder("prompts/reviews")
softprompt.classify(model, prompt, ["a gorgeous, moving film"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from softprompt.gc_pause import pause_gc
from softprompt.thread_wait_policy import set_thread_wait_policy

if TYPE_CHECKING:
    from softprompt.comparison import CompareSettings as CompareSettings
    from softprompt.comparison import compare as compare
    from softprompt.distillation import DistillSettings as DistillSettings
    from softprompt.distillation import distil as distil
    from softprompt.errors import SoftPromptError as SoftPromptError
    from softprompt.evaluation import classify as classify
    from softprompt.evaluation import evaluate as evaluate
    from softprompt.evaluation import extract as extract
    from softprompt.evaluation import respond as respond
    from softprompt.evaluation import tag as tag
    from softprompt.hf_model import DataCollatorForCausalLM as DataCollatorForCausalLM
    from softprompt.hf_model import SoftPromptModel as SoftPromptModel
    from softprompt.hub import pull_from_hub as pull_from_hub
    from softprompt.hub import push_to_hub as push_to_hub
    from softprompt.model import load_model as load_model
    from softprompt.registry import PromptRegistry as PromptRegistry
    from softprompt.sampling import SamplingParams as SamplingParams
    from softprompt.saved import SavedPrompt as SavedPrompt
    from softprompt.training import TuneSettings as TuneSettings
    from softprompt.training import tune as tune

__version__ = "0.1.0"

set_thread_wait_policy()  # before torch is imported

# Imported on first use: torch and transformers take seconds, and `softprompt --help` must be fast.
_LAZY_IMPORTS = {
    "CompareSettings": "softprompt.comparison",
    "DataCollatorForCausalLM": "softprompt.hf_model",
    "DistillSettings": "softprompt.distillation",
    "SamplingParams": "softprompt.sampling",
    "SavedPrompt": "softprompt.saved",
    "SoftPromptError": "softprompt.errors",
    "SoftPromptModel": "softprompt.hf_model",
    "PromptRegistry": "softprompt.registry",
    "TuneSettings": "softprompt.training",
    "classify": "softprompt.evaluation",
    "compare": "softprompt.comparison",
    "distil": "softprompt.distillation",
    "evaluate": "softprompt.evaluation",
    "extract": "softprompt.evaluation",
    "load_model": "softprompt.model",
    "pull_from_hub": "softprompt.hub",
    "push_to_hub": "softprompt.hub",
    "respond": "softprompt.evaluation",
    "tag": "softprompt.evaluation",
    "tune": "softprompt.training",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'softprompt' has no attribute {name!r}")
    with pause_gc():
        return getattr(import_module(_LAZY_IMPORTS[name]), name)
