"""transformers' own `generate`, each row behind its prompt.

Its loop runs a copy of the network whose `forward` is the wrapped model's. So greedy search, sampling and beam search
are transformers', and only where a row's keys and values begin is ours.
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

from softprompt.errors import SettingError, first_line
from softprompt.model import FrozenModel, PromptedCache
from softprompt.wrapper.continued_text import ContinuedText
from softprompt.wrapper.generation_options import check_options, completed
from softprompt.wrapper.padding import blind_to_padding

PASSED = ("input_ids", "inputs_embeds", "attention_mask", "use_cache", "logits_to_keep")


def default_config(model: FrozenModel) -> GenerationConfig:
    """The network's own configuration of generating, with all tokens that end a response."""
    config: GenerationConfig = copy.deepcopy(model.network.generation_config) or GenerationConfig()
    config.eos_token_id = list(model.eos_token_ids) or None
    return config


def generate(
    network: PreTrainedModel,
    forward: Callable[..., Any],
    text: ContinuedText,
    prompts: Sequence[str | None] | None,
    config: GenerationConfig | None,
    options: Mapping[str, Any],
    seed: int | None,
) -> Any:
    """What transformers' `generate` gives for a text.

    Args:
        network: with the configuration of generating that is meant where `config` says nothing.
        forward: a `SoftPromptModel`'s.
        text: what is continued.
        prompts: a loaded prompt's name for each row, or None for the active one.
        config: instead of the network's own.
        options: of `generate`.
        seed: of what is drawn; None for torch's own random numbers.

    Raises:
        SettingError: an option that is none, or that goes with no prompt.
    """
    check_options({**(config or network.generation_config).to_dict(), **options})
    configs = (config, network.generation_config)
    chosen, blind = blind_to_padding(completed(options, *configs), configs, text.starts)
    processors = LogitsProcessorList([*blind, *(chosen.pop("logits_processor", None) or ())])
    copied = prompted(network, forward, prompts)
    try:
        with _seeded(seed, network.device):
            output = copied.generate(  # type: ignore[operator]
                **text.padded_in_front, generation_config=config, logits_processor=processors, **chosen
            )
    except (TypeError, ValueError) as error:
        raise SettingError(f"`SoftPromptModel.generate`: {first_line(error)}") from error
    return _as_given(output, text)


def prompted(
    network: PreTrainedModel, forward: Callable[..., Any], prompts: Sequence[str | None] | None
) -> PreTrainedModel:
    """A copy of the network, of the same weights, whose `forward` puts a prompt in front of each row."""

    @functools.wraps(forward)
    def run(*, past_key_values: Any = None, **inputs: Any) -> Any:
        rows = inputs["inputs_embeds"] if inputs.get("input_ids") is None else inputs["input_ids"]
        cache = past_key_values if isinstance(past_key_values, PromptedCache) else None  # transformers' own is empty
        known = {name: value for name, value in inputs.items() if name in PASSED}
        return forward(**known, past_key_values=cache, prompts=_repeated(prompts, len(rows)))

    copied = copy.copy(network)
    copied.forward = run
    return copied


def _repeated(prompts: Sequence[str | None] | None, count: int) -> list[str | None] | None:
    """A name for each row, where beams or several responses make more of them."""
    return None if prompts is None else [name for name in prompts for _ in range(count // len(prompts))]


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Inside, torch draws by a seed; outside, it goes on as if nothing had been drawn."""
    if seed is None:
        yield
        return
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        torch.manual_seed(seed)
        yield


def _as_given(output: Any, text: ContinuedText) -> Any:
    """The output with the text as its caller laid it out, padding where it was."""
    if isinstance(output, Tensor):
        return text.restored(output)
    output.sequences = text.restored(output.sequences)
    return output
