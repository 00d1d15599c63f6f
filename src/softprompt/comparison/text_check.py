"""Checks that a comparison has a text in front of the inputs if a method uses one, and only then."""

from __future__ import annotations

from collections.abc import Mapping

from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.methods.adaptation_method import AdaptationMethod
from softprompt.errors import SettingError


def check_text(settings: CompareSettings, methods: Mapping[str, AdaptationMethod]) -> None:
    """Check the text in front of the inputs.

    Args:
        settings: settings of the comparison.
        methods: methods of the comparison, by name.

    Raises:
        SettingError: a method has no text, there are several texts, or no method uses the text.
    """
    users = [name for name, method in methods.items() if method.needs_text]
    kinds = " and ".join(f"`{kind}`" for kind in settings.source_kinds)
    if users and not kinds:
        raise SettingError(
            f"the method {users[0]} needs the text in front of the inputs: pass `context` (an instruction), `examples` "
            "(a few-shot prompt) or `document`"
        )
    if len(settings.source_kinds) > 1:
        raise SettingError(f"{kinds} are given, and the methods use one text: pass one of them")
    if kinds and not users:
        raise SettingError(
            f"{kinds} is a text for the methods document, distil:P and truncate:P, and `methods` contains none of "
            "them: add one, or leave the text out"
        )
