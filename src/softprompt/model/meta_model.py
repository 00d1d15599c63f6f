"""A base model without its weights: its words and its sizes, for who lays out rows that others run."""

from __future__ import annotations

import torch

from softprompt.errors import ModelNotFound, ModelNotSupported, SettingError, summarize_error
from softprompt.model.checkpoint_info import read_checkpoint_info
from softprompt.model.eos_tokens import load_generation_config
from softprompt.model.family import resolve_family
from softprompt.model.frozen_model import UNKNOWN_FINGERPRINT, FrozenModel
from softprompt.model.model_files import resolve_model_files
from softprompt.model.model_loader import freeze_network
from softprompt.model.model_shape import ModelKind
from softprompt.model.pretrained_files import make_network, read_config, read_tokenizer
from softprompt.model.silence_transformers import silence_transformers


def load_meta_model(name: str) -> FrozenModel:
    """A base model whose network is on torch's `meta` device: everything has a shape, and nothing a number.

    Texts are told in tokens and prompts are bound to it as to any other; of a compiled payload the shape is left.
    The weights' fingerprint is taken from their files where these are there, without loading them; else it is unknown,
    and every prompt that has the right sizes may be for this model.

    Args:
        name: as `load_model` takes it; of a model on the Hub no weights are downloaded.

    Raises:
        ModelNotFound: no such folder, file, Hub id or embedded model.
        ModelNotSupported: a family whose answers would be wrong, or whose virtual tokens leave no prefix.
        IncompleteModel: its files are here and have no word head.
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
            with torch.device("meta"):  # the other ways to attend look at numbers to save work
                network = make_network(config, attn_implementation="eager")
            load_generation_config(network, files.folder)
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
