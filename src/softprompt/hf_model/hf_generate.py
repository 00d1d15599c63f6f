"""transformers' own `generate`, with a prompt in front of each sequence.

The generation loop runs a copy of the network whose `forward` is that of `SoftPromptModel`. Greedy search, sampling and
beam search are therefore those of transformers.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from softprompt.errors import SettingError, summarize_error
from softprompt.hf_model.generation_inputs import GenerationInputs
from softprompt.hf_model.generation_options import check_options, complete_options
from softprompt.hf_model.padding_processors import make_padding_blind_processors
from softprompt.model import FrozenModel, PromptedDynamicCache

FORWARDED_INPUTS = ("input_ids", "inputs_embeds", "attention_mask", "use_cache", "logits_to_keep")


def make_generation_config(model: FrozenModel) -> GenerationConfig:
    """Copy the network's generation configuration and set all EOS tokens of the model."""
    config: GenerationConfig = copy.deepcopy(model.network.generation_config) or GenerationConfig()
    config.eos_token_id = list(model.eos_token_ids) or None
    return config


def generate_with_prompts(
    network: PreTrainedModel,
    forward: Callable[..., Any],
    inputs: GenerationInputs,
    prompts: Sequence[str | None] | None,
    config: GenerationConfig | None,
    options: Mapping[str, Any],
    seed: int | None,
) -> Any:
    """Run transformers' `generate` with prompts.

    Args:
        network: transformers model whose generation configuration supplies the defaults.
        forward: bound `forward` of a `SoftPromptModel`.
        inputs: texts to continue.
        prompts: name of a loaded prompt for each sequence; None for the active prompt.
        config: generation configuration that replaces the network's; None for the network's.
        options: options of `generate`.
        seed: random seed; None draws from torch's global generator.

    Returns:
        The output of transformers' `generate`, with the texts padded as they were passed.

    Raises:
        SettingError: an option is unknown or not supported with prompts.
    """
    check_options({**(config or network.generation_config).to_dict(), **options})
    configs = (config, network.generation_config)
    remaining_options, padding_blind = make_padding_blind_processors(
        complete_options(options, *configs), configs, inputs.text_starts
    )
    processors = LogitsProcessorList([*padding_blind, *(remaining_options.pop("logits_processor", None) or ())])
    copied = make_prompted_network(network, forward, prompts)
    try:
        with _seed_rng(seed, network.device):
            output = copied.generate(  # type: ignore[operator]
                **inputs.left_padded_inputs, generation_config=config, logits_processor=processors, **remaining_options
            )
    except (TypeError, ValueError) as error:
        raise SettingError(f"`SoftPromptModel.generate` failed: {summarize_error(error)}") from error
    return _restore_layout(output, inputs)


def make_prompted_network(
    network: PreTrainedModel, forward: Callable[..., Any], prompts: Sequence[str | None] | None
) -> PreTrainedModel:
    """Copy the network, sharing its weights, and replace `forward` so that a prompt precedes each sequence."""

    @functools.wraps(forward)
    def forward_with_prompts(*, past_key_values: Any = None, **inputs: Any) -> Any:
        batch = inputs["inputs_embeds"] if inputs.get("input_ids") is None else inputs["input_ids"]
        # The first cache that transformers passes is an empty one of its own.
        cache = past_key_values if isinstance(past_key_values, PromptedDynamicCache) else None
        forwarded = {name: value for name, value in inputs.items() if name in FORWARDED_INPUTS}
        return forward(**forwarded, past_key_values=cache, prompts=_repeat_prompts(prompts, len(batch)))

    copied = copy.copy(network)
    copied.forward = forward_with_prompts
    return copied


def _repeat_prompts(prompts: Sequence[str | None] | None, count: int) -> list[str | None] | None:
    """Repeat the names of prompts for beams and for several responses per text."""
    return None if prompts is None else [name for name in prompts for _ in range(count // len(prompts))]


@contextmanager
def _seed_rng(seed: int | None, device: torch.device) -> Iterator[None]:
    """Seed torch's generators inside the `with` block, and restore their state afterwards."""
    if seed is None:
        yield
        return
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        torch.manual_seed(seed)
        yield


def _restore_layout(output: Any, inputs: GenerationInputs) -> Any:
    """Restore the caller's padding in the output of `generate`."""
    if isinstance(output, Tensor):
        return inputs.restore_layout(output)
    output.sequences = inputs.restore_layout(output.sequences)
    return output
