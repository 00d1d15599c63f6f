"""Whether a network's weights were all in its files: transformers gives those that were not random numbers, in silence.

The layers must be whole. A word head may be absent, as from an encoder that was trained for sentences: then it is taken
out, so that neither answers nor the fingerprint depend on random numbers, and only what needs words is refused.
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

SHOWN = 3  # names in a message

#: What files may hold beside the weights: tables that older releases saved, and a T5 attention's unused bias.
BUFFERS = re.compile(
    r"(attn|attention)\.(masked_)?bias$|inv_freq$|position_ids$|\.version$|EncDecAttention\.relative_attention_bias"
)
#: Heads of the pretraining that have nothing to say about words.
OTHER_HEADS = re.compile(r"(^|\.)(pooler|seq_relationship|sop_classifier|discriminator_predictions)\.")


def check_weights(network: PreTrainedModel, found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Refuse a network whose layers are not all from its files; take out a word head that is not.

    Args:
        network: as transformers loaded it.
        found: what it says of that: `missing_keys`, `unexpected_keys`, `mismatched_keys`.
        name: of the model, for messages.

    Returns:
        The names of the word head's weights that are missing; none where it is whole.

    Raises:
        IncompleteModel: weights of the layers are missing, have other shapes, or are more than the network has.
    """
    _check_shapes(found["mismatched_keys"], name)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    missing = sorted(key for key in found["missing_keys"] if key in parameters)
    head = head_of(network)
    if lacking := [key for key in missing if key not in head]:
        raise IncompleteModel(
            f"the files of {name} lack {listed(lacking)}: get them anew, for they are not whole or not of this "
            "configuration"
        )
    _check_extra(network, found["unexpected_keys"], name)
    if missing:
        take_out_head(network, head)
    return tuple(missing)


def head_of(network: PreTrainedModel) -> list[str]:
    """The names of the parameters that only the word head has, those that are tied to the layers' left out."""
    children = [child for child in network.base_model.children() if child is not network.get_output_embeddings()]
    within = {id(parameter) for child in children for parameter in child.parameters()}
    return [name for name, each in network.named_parameters(remove_duplicate=False) if id(each) not in within]


def take_out_head(network: PreTrainedModel, head: Collection[str]) -> None:
    """Remove the modules that these parameters are in."""
    for child in {name.partition(".")[0] for name in head}:
        setattr(network, child, nn.Identity())


def listed(names: Collection[str]) -> str:
    """The first of some weights by name, and how many there are besides."""
    shown = list(names)[:SHOWN]
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


def _check_extra(network: PreTrainedModel, unexpected: Collection[str], name: str) -> None:
    """Refuse weights that belong into the layers and have no place there; note others that are not used."""
    children = {child for child, _ in network.base_model.named_children()}
    prefix = network.base_model_prefix + "."
    extra = sorted(key for key in unexpected if not BUFFERS.search(key))
    inside = [key for key in extra if key.removeprefix(prefix).partition(".")[0] in children]
    if inside:
        raise IncompleteModel(
            f"the files of {name} hold {listed(inside)}, for which its configuration has no place: "
            "they are of another configuration, or of an adapter that has to be merged first"
        )
    if unused := [key for key in extra if not OTHER_HEADS.search(key)]:
        logger.info("%s: weights that are not used: %s", name, listed(unused))
