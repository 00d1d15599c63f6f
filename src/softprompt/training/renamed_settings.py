"""Earlier names of settings, which old TOML and run.json files have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from softprompt.errors import SettingError

logger = logging.getLogger(__name__)

#: Current name of each setting that was renamed since version 0.1.0.
RENAMED_SETTINGS: Mapping[str, str] = {
    "steps": "max_steps",
    "validation_rows": "max_eval_samples",
    "virtual_tokens": "num_virtual_tokens",
    "encoder_hidden": "encoder_hidden_size",
    "accumulate": "gradient_accumulation_steps",
    "warmup": "warmup_ratio",
    "clip": "max_grad_norm",
    "evaluate_every": "eval_steps",
    "patience": "early_stopping_patience",
    "save_every": "save_steps",
}


def rename_settings(
    values: Mapping[str, Any], renamed: Mapping[str, str] = RENAMED_SETTINGS, *, quiet: bool = False
) -> dict[str, Any]:
    """Translate earlier names of settings to current ones, and log which names were translated.

    Args:
        values: Setting values by name, with underscores.
        renamed: Current name by earlier name.
        quiet: Whether to skip the log line.

    Raises:
        SettingError: If a setting is given under both names.
    """
    earlier_names = [name for name in values if name in renamed]
    for name in earlier_names:
        if renamed[name] in values:
            raise SettingError(f"`{name}` is the earlier name of `{renamed[name]}`: pass only the latter")
    if earlier_names and not quiet:
        logger.info(
            "settings have new names: %s", ", ".join(f"`{name}` is now `{renamed[name]}`" for name in earlier_names)
        )
    return {renamed.get(name, name): value for name, value in values.items()}
