"""Every way there is, by its name; your own as `module:Class`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

from softprompt.comparison.way import Way
from softprompt.comparison.ways.adapters import Bottleneck, Injected
from softprompt.comparison.ways.api.way import ApiWay
from softprompt.comparison.ways.argument import nothing
from softprompt.comparison.ways.few_shot import FewShot
from softprompt.comparison.ways.hard import HardPrompt
from softprompt.comparison.ways.parts import BitFit, Full, Head, LastLayers
from softprompt.comparison.ways.soft import SOFT
from softprompt.errors import SettingError


def _ia3(argument: str | None) -> Way:
    """It scales what is there, so it has no rank."""
    nothing("ia3", argument)
    return Injected("IA³", lambda peft, _: peft.IA3Config(feedforward_modules=[]), 1e-2)


#: Each takes what stands behind a colon, or None.
WAYS: dict[str, Callable[[str | None], Way]] = {
    "hard": HardPrompt,
    "few-shot": FewShot,
    "api": ApiWay,
    **SOFT,
    "lora": partial(Injected, "LoRA", lambda peft, r: peft.LoraConfig(r=r, lora_alpha=2 * r), 5e-4),
    "dora": partial(Injected, "DoRA", lambda peft, r: peft.LoraConfig(r=r, lora_alpha=2 * r, use_dora=True), 5e-4),
    "lokr": partial(Injected, "LoKr", lambda peft, r: peft.LoKrConfig(r=r, alpha=2 * r), 3e-3),
    "ia3": _ia3,
    "adapter": Bottleneck,
    "bitfit": BitFit,
    "head": Head,
    "last": LastLayers,
    "full": Full,
}


def way_named(name: str) -> Way:
    """The way of a name, with its argument behind a colon.

    Raises:
        SettingError: there is none of that name, or it cannot be had with that argument.
    """
    word, _, argument = name.partition(":")
    if word in WAYS:
        return WAYS[word](argument or None)
    if argument.isidentifier():
        return _own(word, argument)
    raise SettingError(f"unknown way {name!r}: one of {', '.join(WAYS)}, or your own as module:Class")


def _own(module: str, name: str) -> Way:
    try:
        way = getattr(importlib.import_module(module), name)()
    except Exception as error:  # whatever somebody's own file does when it is read
        raise SettingError(
            f'`ways=["{module}:{name}"]`: {type(error).__name__}: {error}; known ways are {", ".join(WAYS)}'
        ) from error
    if not isinstance(way, Way):
        raise SettingError(f'`ways=["{module}:{name}"]` is no subclass of softprompt.comparison.Way')
    return way
