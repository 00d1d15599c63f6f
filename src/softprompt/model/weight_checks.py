"""Check that a network's weights were all in its files: transformers silently fills missing ones with random numbers.

The layers must be complete. The language-modeling head may be missing, as in sentence encoders. Then the head is
removed, so that neither results nor the fingerprint depend on random numbers. Tasks that need the head are refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from softprompt.errors import IncompleteModel

logger = logging.getLogger(__name__)

MAX_NAMES_SHOWN = 3  # names in an error message

#: Names of allowed extras in the files: tables that older releases saved, and an unused bias of T5's attention.
IGNORED_BUFFER_PATTERN = re.compile(
    r"(attn|attention)\.(masked_)?bias$|inv_freq$|position_ids$|\.version$|EncDecAttention\.relative_attention_bias"
)
#: Heads of the pretraining that are not language-modeling heads.
NON_LM_HEAD_PATTERN = re.compile(r"(^|\.)(pooler|seq_relationship|sop_classifier|discriminator_predictions)\.")


def check_weights(network: PreTrainedModel, loading_info: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Check that all layers were loaded from the files, and remove an incomplete language-modeling head.

    Args:
        network: network as transformers loaded it.
        loading_info: transformers' report: `missing_keys`, `unexpected_keys`, `mismatched_keys`.
        name: name of the model, for messages.

    Returns:
        The names of missing weights of the language-modeling head; empty if the head is complete.

    Raises:
        IncompleteModel: weights of the layers are missing, have other shapes, or are more than the network has.
    """
    _check_shapes(loading_info["mismatched_keys"], name)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    missing = sorted(key for key in loading_info["missing_keys"] if key in parameters)
    head = get_lm_head_parameters(network)
    if lacking := [key for key in missing if key not in head]:
        raise IncompleteModel(
            f"the files of {name} lack {format_names(lacking)}: download them again, they are incomplete or belong to "
            "another configuration"
        )
    _check_unexpected(network, loading_info["unexpected_keys"], name)
    if missing:
        remove_lm_head(network, head)
    return tuple(missing)


def get_lm_head_parameters(network: PreTrainedModel) -> list[str]:
    """Return the names of parameters that belong only to the language-modeling head and are not tied to the layers."""
    children = [child for child in network.base_model.children() if child is not network.get_output_embeddings()]
    layer_ids = {id(parameter) for child in children for parameter in child.parameters()}
    parameters = network.named_parameters(remove_duplicate=False)
    return [name for name, parameter in parameters if id(parameter) not in layer_ids]


def remove_lm_head(network: PreTrainedModel, parameter_names: Collection[str]) -> None:
    """Replace the modules that contain these parameters by identities."""
    for child in {name.partition(".")[0] for name in parameter_names}:
        setattr(network, child, nn.Identity())


def format_names(names: Collection[str]) -> str:
    """Format the first names, and the number of the others."""
    shown = list(names)[:MAX_NAMES_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more


def _check_shapes(mismatched: Collection[tuple[str, Any, Any]], name: str) -> None:
    if mismatched:
        key, stored, configured = sorted(mismatched)[0]
        others = f" ({len(mismatched) - 1} more are not, either)" if len(mismatched) > 1 else ""
        raise IncompleteModel(
            f"the weights of {name} are not of the shapes that its configuration says: {key} is "
            f"{list(stored)} in the files and {list(configured)} in the configuration{others}"
        )


def _check_unexpected(network: PreTrainedModel, unexpected: Collection[str], name: str) -> None:
    """Raise an error for weights of layers that the network does not have, and log other unused weights."""
    children = {child for child, _ in network.base_model.named_children()}
    prefix = network.base_model_prefix + "."
    extra = sorted(key for key in unexpected if not IGNORED_BUFFER_PATTERN.search(key))
    inside = [key for key in extra if key.removeprefix(prefix).partition(".")[0] in children]
    if inside:
        raise IncompleteModel(
            f"the files of {name} hold {format_names(inside)}, for which its configuration has no place: "
            "they are of another configuration, or of an adapter that has to be merged first"
        )
    if unused := [key for key in extra if not NON_LM_HEAD_PATTERN.search(key)]:
        logger.info("%s: weights that are not used: %s", name, format_names(unused))
