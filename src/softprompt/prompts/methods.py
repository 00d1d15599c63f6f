"""The methods by name, with defaults that work. The choice is made here, once; nothing downstream asks for a method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

import torch
from torch import nn

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, Kind, Placement
from softprompt.prompts import encoded_prompt
from softprompt.prompts.context_prompt import RADIUS, ContextPrompt
from softprompt.prompts.encoded_prompt import EncodedPrompt, seeded
from softprompt.prompts.initial import CONTEXT_STARTS, EMBEDDING_STARTS, PREFIX_STARTS, Start, StartRequest
from softprompt.prompts.multitask_prompt import MultitaskPrompt
from softprompt.prompts.prefix_tuning import DeepPrompt, ReparametrizedPrefix
from softprompt.prompts.prompt_tuning import PromptTuning
from softprompt.prompts.scales import find_key_value_spread, find_state_spread
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import Demonstrations, LinearHead


@dataclass(frozen=True)
class PromptOptions:
    """How to make a prompt, in the user's words; None where the method's default holds.

    Attributes:
        method: a name in `METHODS`.
        num_virtual_tokens: P; of a method that shows examples, the most that they may need.
        init: `text`, `text:…`, `labels`, `vocab`, `random`, `zeros` or `prompt:FOLDER`.
        encoder: `none`, `mlp` or `lstm`, as far as the method has it.
        encoder_hidden: the encoder's width.
        placement: where the virtual tokens stand.
        freeze_sink: keep the first virtual token's keys as they start.
        layers: in how many of the top layers a prefix trains; in all if None.
        head: `verbalizer` or `linear`.
        tasks: the names of the tasks that are learnt together; none where there is one.
        task_rank: the rank of what is each one's own.
        seed: of every random number.
    """

    method: str = "prefix"
    num_virtual_tokens: int | None = None
    init: str = "text"
    encoder: str | None = None
    encoder_hidden: int | None = None
    placement: Placement = Placement.BEFORE
    freeze_sink: bool = False
    layers: int | None = None
    head: str | None = None
    tasks: tuple[str, ...] = ()
    task_rank: int = 1
    seed: int = 0


#: How far a step at the default rate may move a linear head's logits, at most: as far as if all that differs between
#: two states spoke for one label.
HEAD_STEP = 2.0
#: What the rate is multiplied by where some layers train alone: they have further to go than all together.
SOME_LAYERS = 4


@dataclass(frozen=True)
class Method:
    """A method and its defaults.

    Attributes:
        starts: its initialisers by name.
        encoders: how to build it for each encoder it has; the first is the default.
        relative_rate: AdamW's learning rate as a fraction of the scale of what is trained.
        scale: that scale in a model: the root mean square of its word embeddings; 1 for keys and values, which train in
            units of their own spread.
        head: how labels are read unless the user says otherwise.
        placements: where its virtual tokens can stand.
        kinds: the kinds of model that it is for.
        num_virtual_tokens: P unless the user says otherwise.
        is_deep: whether its virtual tokens are keys and values in every layer: those of the top layers can train
            alone, and the keys of the first virtual token can be frozen.
        learns_several: whether it learns several tasks together, which it then must.
        shows_examples: whether its virtual tokens start as examples with their answers, of which P is the most they may
            need; else they start as a text.
    """

    starts: dict[str, Callable[[StartRequest], Start]]
    encoders: dict[str, Callable[[Parts], SoftPrompt]]
    relative_rate: float
    scale: Callable[[FrozenModel], float] = attrgetter("embedding_scale")
    head: str = "verbalizer"
    placements: tuple[Placement, ...] = tuple(Placement)
    kinds: tuple[Kind, ...] = tuple(Kind)
    num_virtual_tokens: int = 40
    is_deep: bool = False
    learns_several: bool = False
    shows_examples: bool = False

    def default_rate(self, model: FrozenModel, layers: int | None = None) -> float:
        """AdamW's learning rate on a model, unless the user says otherwise; `layers` are those that train, None all."""
        some = layers is not None and layers < model.shape.num_layers
        return self.relative_rate * self.scale(model) * (SOME_LAYERS if some else 1)


@dataclass(frozen=True)
class Parts:
    """What a prompt is built of, once every choice is made."""

    start: Start
    shown: Demonstrations | None
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


def _multitask(parts: Parts) -> SoftPrompt:
    options, scale = parts.options, parts.model.embedding_scale
    return MultitaskPrompt(
        parts.start, options.tasks, options.task_rank, options.placement, parts.head, scale, parts.generator
    )


def _context(parts: Parts) -> SoftPrompt:
    if parts.shown:
        parts.model.check_word_head()  # the answers among them are learnt as well
    radius = RADIUS * parts.model.embedding_scale * math.sqrt(parts.start.tensor.shape[1])
    return ContextPrompt(parts.start, parts.shown, radius, parts.options.placement, parts.head)


def _deep(parts: Parts) -> SoftPrompt:
    options = parts.options
    spread = find_key_value_spread(parts.model)
    return DeepPrompt(parts.start, spread, options.placement, parts.head, options.freeze_sink, _ground(parts))


def _reparametrized(parts: Parts) -> SoftPrompt:
    hidden = parts.options.encoder_hidden or 512
    P = parts.start.tensor.shape[3]
    tokens = torch.randn(P, parts.model.shape.hidden_size, generator=parts.generator)
    spread, placement, ground = find_key_value_spread(parts.model), parts.options.placement, _ground(parts)

    def build(_: int, width: int) -> nn.Module:
        return ReparametrizedPrefix(parts.start, spread, tokens, width, placement, parts.head, ground)

    prompt = seeded(build, tokens.shape[1], hidden, parts.generator)
    assert isinstance(prompt, SoftPrompt)
    return prompt


def _ground(parts: Parts) -> int:
    """How many of the lowest layers stay as they start."""
    layers = parts.options.layers
    return 0 if layers is None else parts.model.shape.num_layers - layers


def _one(_: FrozenModel) -> float:
    return 1.0


_BEFORE_THE_TEXT = (Placement.BEFORE, Placement.AFTER_BOS)

METHODS: dict[str, Method] = {
    "prompt": Method(EMBEDDING_STARTS, {"none": _direct}, relative_rate=0.04, num_virtual_tokens=200),
    "residual": Method(EMBEDDING_STARTS, {"mlp": _encoded(encoded_prompt.residual, 128)}, relative_rate=0.05),
    "p-tuning": Method(
        EMBEDDING_STARTS,
        {"mlp": _encoded(encoded_prompt.mlp, 256), "lstm": _encoded(encoded_prompt.Lstm, 256)},
        relative_rate=0.05,
    ),
    "multitask": Method(
        EMBEDDING_STARTS, {"none": _multitask}, relative_rate=0.074, num_virtual_tokens=200, learns_several=True
    ),
    "context": Method(
        CONTEXT_STARTS,
        {"none": _context},
        relative_rate=0.01,
        placements=_BEFORE_THE_TEXT,
        kinds=(Kind.CAUSAL,),
        num_virtual_tokens=200,
        shows_examples=True,
    ),
    "prefix": Method(
        PREFIX_STARTS,
        {"none": _deep, "mlp": _reparametrized},
        relative_rate=0.01,
        scale=_one,
        placements=_BEFORE_THE_TEXT,
        is_deep=True,
    ),
    "p-tuning-v2": Method(
        PREFIX_STARTS,
        {"none": _deep},
        relative_rate=0.02,
        scale=_one,
        head="linear",
        placements=_BEFORE_THE_TEXT,
        is_deep=True,
    ),
}


def build_prompt(
    options: PromptOptions, model: FrozenModel, opening: str | Demonstrations, labels: tuple[str, ...] = ()
) -> tuple[SoftPrompt, str]:
    """A prompt ready to train, on the model's device in float32, and in words what its virtual tokens start from.

    Args:
        options: the user's choices.
        model: the frozen model it is for.
        opening: what the virtual tokens say at first, for starts that name no text: a text, or examples with their
            answers where `shows_examples`.
        labels: what a classification chooses from; empty for other tasks.

    Raises:
        SettingError: a choice that does not exist, or does not go with another.
    """
    method = chosen("method", options.method, METHODS)
    P = num_virtual_tokens(options, model)
    _check(options, method, model)
    name, _, argument = options.init.partition(":")
    initialise = chosen("init", name, method.starts)
    shown = None if argument or isinstance(opening, str) else opening
    text = opening if isinstance(opening, str) else ""
    argument = argument or (" ".join(labels) if name == "labels" else text)
    build = chosen("encoder", options.encoder or next(iter(method.encoders)), method.encoders)
    generator = torch.Generator().manual_seed(options.seed)
    start = initialise(StartRequest(model, P, options.placement, argument, generator, shown))
    if options.head == "linear" and not labels:
        raise SettingError('a linear head chooses among labels, and this task has none: choose `head="verbalizer"`')
    head = _head(options.head or method.head, labels, model)
    if head is not None and name == "prompt":
        _continue_head(head, argument)
    prompt = build(Parts(start, shown, model, options, head, generator))
    if head is not None:
        prompt.head_rate = HEAD_STEP / (model.shape.hidden_size * find_state_spread(model)) / method.default_rate(model)
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
    P = options.num_virtual_tokens
    if P is None:  # in a short window they leave the text its room
        P = min(method.num_virtual_tokens, max(1, model.shape.window // 4))
    if not 0 < P < model.shape.window:
        raise SettingError(
            f"{P} virtual tokens: choose at least 1 and fewer than {model.shape.window}, the window of {model.name}"
        )
    return P


def shows_examples(options: PromptOptions, model: FrozenModel) -> bool:
    """Whether the virtual tokens start as examples with their answers: by the method, unless the user gave a text.

    Raises:
        SettingError: as `build_prompt`, where method and model do not go together.
    """
    method = chosen("method", options.method, METHODS)
    _check(options, method, model)
    name, _, own_text = options.init.partition(":")
    return method.shows_examples and name == "text" and not own_text


def _check(options: PromptOptions, method: Method, model: FrozenModel) -> None:
    if model.shape.kind not in method.kinds:
        raise SettingError(
            f"{options.method} is for {' and '.join(method.kinds)} models, and {model.name} is a model of the kind "
            f"{model.shape.kind}: choose another `method`"
        )
    if options.placement not in method.placements:
        raise SettingError(f"{options.method} cannot stand {options.placement}: one of {', '.join(method.placements)}")
    if options.placement not in model.placements:
        raise SettingError(f"in {model.name} no prompt can stand {options.placement}: {', '.join(model.placements)}")
    if options.placement is Placement.AFTER_BOS and model.bos is None:
        raise SettingError(f'the tokenizer of {model.name} puts no BOS in front of a text: choose `placement="before"`')
    if options.freeze_sink and (not method.is_deep or options.encoder == "mlp"):
        raise SettingError(
            'only directly trained keys have a sink to freeze: choose `method="prefix"` and `encoder="none"`'
        )
    if options.layers is not None:
        _check_layers(options, options.layers, method, model)
    if method.learns_several and not options.tasks:
        raise SettingError(f"{options.method} learns several tasks together: name them with `tasks`")
    if options.tasks and not method.learns_several:
        raise SettingError(f'{options.method} learns one task: leave `tasks` out, or choose `method="multitask"`')


def _check_layers(options: PromptOptions, layers: int, method: Method, model: FrozenModel) -> None:
    if not method.is_deep:
        raise SettingError(
            f'{options.method} trains nothing in single layers: leave `layers` out, or choose `method="prefix"`'
        )
    if model.shape.kind is not Kind.CAUSAL:
        raise SettingError(f"`layers` is for causal models, and {model.name} is {model.shape.kind}: leave it out")
    if options.placement is not Placement.BEFORE:
        raise SettingError(
            f'`layers` with `placement="{options.placement}"`: a prefix that trains in some layers stands before'
        )
    if not 0 < layers <= model.shape.num_layers:
        raise SettingError(f"`layers={layers}`: {model.name} has {model.shape.num_layers}")


def _continue_head(head: LinearHead, folder: str) -> None:
    """Continue from a saved prompt's own head, if it has one for as many labels."""
    weights = SavedPrompt.read(folder).head
    if weights is not None and weights["weight"].shape == head.weight.shape:
        head.load_state_dict(weights)


def _head(name: str, labels: tuple[str, ...], model: FrozenModel) -> LinearHead | None:
    if name not in ("verbalizer", "linear"):
        raise SettingError(f"unknown head {name!r}: one of verbalizer, linear")
    return LinearHead(len(labels), model.shape.hidden_size) if name == "linear" and labels else None
