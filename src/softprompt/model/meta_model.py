"""Loads a base model without weights, for a process that prepares inputs for other processes."""

from __future__ import annotations

import torch

from softprompt.errors import ModelNotFound, ModelNotSupported, SettingError, summarize_error
from softprompt.model.checkpoint_info import read_checkpoint_info
from softprompt.model.eos_tokens import set_generation_config
from softprompt.model.family import resolve_family
from softprompt.model.frozen_model import UNKNOWN_FINGERPRINT, FrozenModel
from softprompt.model.model_files import resolve_model_files
from softprompt.model.model_loader import freeze_network
from softprompt.model.model_shape import ModelKind
from softprompt.model.pretrained_files import make_network, read_config, read_tokenizer
from softprompt.model.silence_transformers import silence_transformers


def load_meta_model(name: str) -> FrozenModel:
    """Load a base model on torch's `meta` device, where tensors have shapes and no values.

    It tokenizes texts and binds prompts like any other model; a compiled payload has only a shape. The fingerprint is
    read from the weight files without loading them. Without files it is unknown, and every prompt of the right sizes is
    accepted.

    Args:
        name: as `load_model` takes it; of a model on the Hub no weights are downloaded.

    Raises:
        ModelNotFound: the name is not a folder, file, Hub id or bundled model.
        ModelNotSupported: the family is not supported, or its virtual tokens cannot be compiled to a prefix.
        IncompleteModel: the weight files have no language-modeling head.
        HubUnreachable: the Hub cannot be reached and the model's configuration was never downloaded.
    """
    files = resolve_model_files(name, with_weights=False)
    with silence_transformers():
        try:
            config = read_config(files.folder)
            if (kind := resolve_family(config).kind) is not ModelKind.CAUSAL:
                raise ModelNotSupported(
                    f"{name} is {kind}: a prompt is a prefix, to be run elsewhere, on causal models"
                )
            tokenizer = read_tokenizer(files.folder)
            with torch.device("meta"):  # other attention implementations read values of the mask
                network = make_network(config, attn_implementation="eager")
            set_generation_config(network, files.folder)
        except (OSError, ValueError, KeyError) as error:
            raise ModelNotFound(f"{name!r} cannot be read as a language model: {summarize_error(error)}") from error
    model = freeze_network(network, tokenizer, files.name)
    try:
        checkpoint = read_checkpoint_info(files.folder)
    except SettingError:
        model.fingerprint = UNKNOWN_FINGERPRINT
        return model
    model.fingerprint, model.missing_head_weights = checkpoint.fingerprint, checkpoint.missing_head_weights
    model.check_lm_head()
    return model
