"""Creates adaptation methods by name; custom ones as `module:Class`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

from softprompt.comparison.methods.adaptation_method import AdaptationMethod
from softprompt.comparison.methods.adapters import BottleneckMethod, PeftMethod
from softprompt.comparison.methods.api.api_method import ApiMethod
from softprompt.comparison.methods.distillation_method import DistillationMethod
from softprompt.comparison.methods.few_shot_prompt import FewShotPrompt
from softprompt.comparison.methods.fine_tuning import BitFitTuning, FullFineTuning, LastLayersFineTuning, LinearProbe
from softprompt.comparison.methods.hard_prompt import HardPrompt
from softprompt.comparison.methods.method_argument import reject_argument
from softprompt.comparison.methods.soft_prompt_method import SOFT_PROMPT_METHODS
from softprompt.comparison.methods.text_methods import TruncatedText, WholeText
from softprompt.errors import SettingError


def _create_ia3(argument: str | None) -> AdaptationMethod:
    """Create IA³, which scales existing activations and so has no rank."""
    reject_argument("ia3", argument)
    return PeftMethod("IA³", lambda peft, _: peft.IA3Config(feedforward_modules=[]), 1e-2)


#: Factories of the methods by name. Each takes the argument after the colon, or None.
ADAPTATION_METHODS: dict[str, Callable[[str | None], AdaptationMethod]] = {
    "hard": HardPrompt,
    "few-shot": FewShotPrompt,
    "document": WholeText,
    "truncate": TruncatedText,
    "distil": DistillationMethod,
    "api": ApiMethod,
    **SOFT_PROMPT_METHODS,
    "lora": partial(PeftMethod, "LoRA", lambda peft, r: peft.LoraConfig(r=r, lora_alpha=2 * r), 5e-4),
    "dora": partial(PeftMethod, "DoRA", lambda peft, r: peft.LoraConfig(r=r, lora_alpha=2 * r, use_dora=True), 5e-4),
    "lokr": partial(PeftMethod, "LoKr", lambda peft, r: peft.LoKrConfig(r=r, alpha=2 * r), 3e-3),
    "ia3": _create_ia3,
    "adapter": BottleneckMethod,
    "bitfit": BitFitTuning,
    "head": LinearProbe,
    "last": LastLayersFineTuning,
    "full": FullFineTuning,
}


def get_method(name: str) -> AdaptationMethod:
    """Return the method of a name, with an argument after a colon, such as `lora:8`.

    Raises:
        SettingError: the name is unknown, or the argument is invalid.
    """
    word, _, argument = name.partition(":")
    if word in ADAPTATION_METHODS:
        return ADAPTATION_METHODS[word](argument or None)
    if argument.isidentifier():
        return _load_custom_method(word, argument)
    raise SettingError(
        f"unknown method {name!r}: choose one of {', '.join(ADAPTATION_METHODS)}, or your own as module:Class"
    )


def _load_custom_method(module: str, name: str) -> AdaptationMethod:
    try:
        method = getattr(importlib.import_module(module), name)()
    except Exception as error:  # a custom module may raise anything when imported
        raise SettingError(
            f'`methods=["{module}:{name}"]`: {type(error).__name__}: {error}; '
            f"known methods: {', '.join(ADAPTATION_METHODS)}"
        ) from error
    if not isinstance(method, AdaptationMethod):
        raise SettingError(f'`methods=["{module}:{name}"]` is not a subclass of softprompt.comparison.AdaptationMethod')
    return method
