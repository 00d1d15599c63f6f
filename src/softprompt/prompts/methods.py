"""The methods by name, with defaults that work. The choice is made here, once; nothing downstream asks for a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

import torch
from torch import nn

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, Placement
from softprompt.prompts import encoded_prompt
from softprompt.prompts.encoded_prompt import EncodedPrompt, seeded
from softprompt.prompts.initial import EMBEDDING_STARTS, PREFIX_STARTS, Start, StartRequest
from softprompt.prompts.prefix_tuning import DeepPrompt, ReparametrizedPrefix
from softprompt.prompts.prompt_tuning import PromptTuning
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import LinearHead


@dataclass(frozen=True)
class PromptOptions:
    """How to make a prompt, in the user's words; None where the method's default holds.

    Attributes:
        method: a name in `METHODS`.
        num_virtual_tokens: P.
        init: `text`, `text:…`, `labels`, `vocab`, `random`, `zeros` or `prompt:FOLDER`.
        encoder: `none`, `mlp` or `lstm`, as far as the method has it.
        encoder_hidden: the encoder's width.
        placement: where the virtual tokens stand.
        freeze_sink: keep the first virtual token's keys as they start.
        head: `verbalizer` or `linear`.
        seed: of every random number.
    """

    method: str = "prefix"
    num_virtual_tokens: int | None = None
    init: str = "text"
    encoder: str | None = None
    encoder_hidden: int | None = None
    placement: Placement = Placement.BEFORE
    freeze_sink: bool = False
    head: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Method:
    """A method and its defaults.

    Attributes:
        starts: its initialisers by name.
        encoders: how to build it for each encoder it has; the first is the default.
        relative_rate: AdamW's learning rate as a fraction of the scale of what is trained.
        scale: that scale in a model: the root mean square of its word embeddings, or of keys and values.
        head: how labels are read unless the user says otherwise.
        placements: where its virtual tokens can stand.
        num_virtual_tokens: P unless the user says otherwise.
        has_sink: whether the first virtual token's keys can be frozen.
    """

    starts: dict[str, Callable[[StartRequest], Start]]
    encoders: dict[str, Callable[[Parts], SoftPrompt]]
    relative_rate: float
    scale: Callable[[FrozenModel], float] = attrgetter("embedding_scale")
    head: str = "verbalizer"
    placements: tuple[Placement, ...] = tuple(Placement)
    num_virtual_tokens: int = 40
    has_sink: bool = False

    def default_rate(self, model: FrozenModel) -> float:
        """AdamW's learning rate on a model, unless the user says otherwise."""
        return self.relative_rate * self.scale(model)


@dataclass(frozen=True)
class Parts:
    """What a prompt is built of, once every choice is made."""

    start: Start
    model: FrozenModel
    options: PromptOptions
    head: LinearHead | None
    generator: torch.Generator


def _direct(parts: Parts) -> SoftPrompt:
    return PromptTuning(parts.start, parts.options.placement, parts.head)


def _encoded(build: Callable[[int, int], nn.Module], default_hidden: int) -> Callable[[Parts], SoftPrompt]:
    def assemble(parts: Parts) -> SoftPrompt:
        hidden = parts.options.encoder_hidden or default_hidden
        encoder = seeded(build, parts.start.tensor.shape[1], hidden, parts.generator)
        return EncodedPrompt(parts.start, encoder, parts.options.placement, parts.head)

    return assemble


def _deep(parts: Parts) -> SoftPrompt:
    return DeepPrompt(parts.start, parts.options.placement, parts.head, parts.options.freeze_sink)


def _reparametrized(parts: Parts) -> SoftPrompt:
    hidden = parts.options.encoder_hidden or 512
    P = parts.start.tensor.shape[3]
    tokens = torch.randn(P, parts.model.shape.hidden_size, generator=parts.generator)

    def build(_: int, width: int) -> nn.Module:
        return ReparametrizedPrefix(parts.start, tokens, width, parts.options.placement, parts.head)

    prompt = seeded(build, tokens.shape[1], hidden, parts.generator)
    assert isinstance(prompt, SoftPrompt)
    return prompt


_BEFORE_THE_TEXT = (Placement.BEFORE, Placement.AFTER_BOS)

METHODS: dict[str, Method] = {
    "prompt": Method(EMBEDDING_STARTS, {"none": _direct}, relative_rate=0.074, num_virtual_tokens=100),
    "residual": Method(EMBEDDING_STARTS, {"mlp": _encoded(encoded_prompt.residual, 128)}, relative_rate=0.05),
    "p-tuning": Method(
        EMBEDDING_STARTS,
        {"mlp": _encoded(encoded_prompt.mlp, 256), "lstm": _encoded(encoded_prompt.Lstm, 256)},
        relative_rate=0.05,
    ),
    "prefix": Method(
        PREFIX_STARTS,
        {"none": _deep, "mlp": _reparametrized},
        relative_rate=0.0031,
        scale=attrgetter("key_value_scale"),
        placements=_BEFORE_THE_TEXT,
        has_sink=True,
    ),
    "p-tuning-v2": Method(
        PREFIX_STARTS,
        {"none": _deep},
        relative_rate=0.0031,
        scale=attrgetter("key_value_scale"),
        head="linear",
        placements=_BEFORE_THE_TEXT,
        has_sink=True,
    ),
}


def build_prompt(
    options: PromptOptions, model: FrozenModel, start_text: str, labels: tuple[str, ...] = ()
) -> tuple[SoftPrompt, str]:
    """A prompt ready to train, on the model's device in float32, and in words what its virtual tokens start from.

    Args:
        options: the user's choices.
        model: the frozen model it is for.
        start_text: what the virtual tokens say at first, for starts that name no text.
        labels: what a classification chooses from; empty for other tasks.

    Raises:
        SettingError: a choice that does not exist, or does not go with another.
    """
    method = chosen("method", options.method, METHODS)
    P = num_virtual_tokens(options, model)
    _check(options, method, model)
    name, _, argument = options.init.partition(":")
    initialise = chosen("init", name, method.starts)
    argument = argument or (" ".join(labels) if name == "labels" else start_text)
    build = chosen("encoder", options.encoder or next(iter(method.encoders)), method.encoders)
    generator = torch.Generator().manual_seed(options.seed)
    start = initialise(StartRequest(model, P, options.placement, argument, generator))
    if options.head == "linear" and not labels:
        raise SettingError("a linear head chooses among labels, and this task has none: --head verbalizer")
    head = _head(options.head or method.head, labels, model)
    if head is not None and name == "prompt":
        _continue_head(head, argument)
    prompt = build(Parts(start, model, options, head, generator))
    return prompt.to(model.device), start.used


Choice = TypeVar("Choice")


def chosen(option: str, name: str, choices: dict[str, Choice]) -> Choice:
    """`choices[name]`, or an error that lists them."""
    if name not in choices:
        raise SettingError(f"unknown {option} {name!r}: one of {', '.join(choices)}")
    return choices[name]


def num_virtual_tokens(options: PromptOptions, model: FrozenModel) -> int:
    """P: what the user said, or the method's default.

    Raises:
        SettingError: no virtual token, more than the model's window holds, or an unknown method.
    """
    method = chosen("method", options.method, METHODS)
    P = method.num_virtual_tokens if options.num_virtual_tokens is None else options.num_virtual_tokens
    if not 0 < P < model.shape.window:
        raise SettingError(
            f"{P} virtual tokens: choose at least 1 and fewer than {model.shape.window}, the window of {model.name}"
        )
    return P


def _check(options: PromptOptions, method: Method, model: FrozenModel) -> None:
    if options.placement not in method.placements:
        raise SettingError(f"{options.method} cannot stand {options.placement}: one of {', '.join(method.placements)}")
    if options.placement not in model.placements:
        raise SettingError(f"in {model.name} no prompt can stand {options.placement}: {', '.join(model.placements)}")
    if options.placement is Placement.AFTER_BOS and model.bos is None:
        raise SettingError(f"the tokenizer of {model.name} puts no BOS in front of a text: use --placement before")
    if options.freeze_sink and (not method.has_sink or options.encoder == "mlp"):
        raise SettingError("only directly trained keys have a sink to freeze: --method prefix with --encoder none")


def _continue_head(head: LinearHead, folder: str) -> None:
    """Continue from a saved prompt's own head, if it has one for as many labels."""
    weights = SavedPrompt.read(folder).head
    if weights is not None and weights["weight"].shape == head.weight.shape:
        head.load_state_dict(weights)


def _head(name: str, labels: tuple[str, ...], model: FrozenModel) -> LinearHead | None:
    if name not in ("verbalizer", "linear"):
        raise SettingError(f"unknown head {name!r}: one of verbalizer, linear")
    return LinearHead(len(labels), model.shape.hidden_size) if name == "linear" and labels else None
