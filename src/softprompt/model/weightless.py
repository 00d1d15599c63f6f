"""A base model without its weights: its words and its sizes, for who lays out rows that others run."""

from __future__ import annotations

import torch

from softprompt.errors import ModelNotFound, ModelNotSupported, SettingError, first_line
from softprompt.model.checkpoint import read_checkpoint
from softprompt.model.end_tokens import read_generation_config
from softprompt.model.family import resolve
from softprompt.model.frozen import UNKNOWN, FrozenModel
from softprompt.model.loading import frozen
from softprompt.model.locating import located
from softprompt.model.pretrained import make_network, read_config, read_tokenizer
from softprompt.model.quiet import quiet
from softprompt.model.shape import Kind


def load_weightless(name: str) -> FrozenModel:
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
        NoNetwork: the Hub cannot be reached and the model's configuration was never downloaded.
    """
    files = located(name, weights=False)
    with quiet():
        try:
            config = read_config(files.folder)
            if (kind := resolve(config).kind) is not Kind.CAUSAL:
                raise ModelNotSupported(
                    f"{name} is {kind}: a prompt is a prefix, to be run elsewhere, on causal models"
                )
            tokenizer = read_tokenizer(files.folder)
            with torch.device("meta"):  # the other ways to attend look at numbers to save work
                network = make_network(config, attn_implementation="eager")
            read_generation_config(network, files.folder)
        except (OSError, ValueError, KeyError) as error:
            raise ModelNotFound(f"{name!r} cannot be read as a language model: {first_line(error)}") from error
    model = frozen(network, tokenizer, files.name)
    try:
        checkpoint = read_checkpoint(files.folder)
    except SettingError:
        model.fingerprint = UNKNOWN
        return model
    model.fingerprint, model.missing_head = checkpoint.fingerprint, checkpoint.missing_head
    model.check_word_head()
    return model
