"""Resolution of a user's options for a method and a model: defaults that depend on both, and incompatible choices."""

from __future__ import annotations

from softprompt.errors import SettingError
from softprompt.model import FrozenModel, ModelKind, Placement
from softprompt.prompts.prompt_options import PromptOptions
from softprompt.prompts.tuning_methods import TuningMethod, get_tuning_method


def num_virtual_tokens(options: PromptOptions, model: FrozenModel) -> int:
    """Return the number of virtual tokens: the user's choice, or the method's default.

    Raises:
        SettingError: less than 1, not less than the model's window, or an unknown method.
    """
    method = get_tuning_method(options.method)
    P = options.num_virtual_tokens
    if P is None:  # in a short window, leave most positions for the text
        P = min(method.default_num_virtual_tokens, max(1, model.shape.window // 4))
    if not 0 < P < model.shape.window:
        raise SettingError(
            f"{P} virtual tokens: choose at least 1 and fewer than {model.shape.window}, the window of {model.name}"
        )
    return P


def uses_demonstrations(options: PromptOptions, model: FrozenModel) -> bool:
    """Whether the virtual tokens start as examples with their answers: by method, unless the user gave a text.

    Raises:
        SettingError: the method and the model are incompatible, as in `build_prompt`.
    """
    method = get_tuning_method(options.method)
    check_options(options, method, model)
    name, _, text = options.init.partition(":")
    return method.uses_demonstrations and name == "text" and not text


def check_options(options: PromptOptions, method: TuningMethod, model: FrozenModel) -> None:
    """Check that the options, their method and the model are compatible.

    Raises:
        SettingError: two of them are incompatible.
    """
    if model.shape.kind not in method.model_kinds:
        raise SettingError(
            f"{options.method} supports {' and '.join(method.model_kinds)} models, but {model.name} is "
            f"{model.shape.kind}: choose another `method`"
        )
    _check_placement(options, method, model)
    if options.freeze_sink and (not method.is_deep or options.encoder == "mlp"):
        raise SettingError(
            'only directly trained keys have a sink to freeze: choose `method="prefix"` and `encoder="none"`'
        )
    if options.layers is not None:
        _check_layers(options, options.layers, method, model)
    if method.is_multitask and not options.tasks:
        raise SettingError(f"{options.method} trains several tasks together: name them with `tasks`")
    if options.tasks and not method.is_multitask:
        raise SettingError(f'{options.method} trains one task: leave `tasks` out, or choose `method="multitask"`')


def _check_placement(options: PromptOptions, method: TuningMethod, model: FrozenModel) -> None:
    for name, supported in ((options.method, method.placements), (model.name, model.placements)):
        if options.placement not in supported:
            raise SettingError(
                f"{name} does not support `placement` {options.placement}: choose {', '.join(supported)}"
            )
    if options.placement is Placement.AFTER_BOS and model.prompt_tokenizer.bos_token_id is None:
        raise SettingError(f'the tokenizer of {model.name} adds no BOS token: choose `placement="before"`')


def _check_layers(options: PromptOptions, layers: int, method: TuningMethod, model: FrozenModel) -> None:
    if not method.is_deep:
        raise SettingError(
            f'{options.method} cannot train single layers: leave `layers` out, or choose `method="prefix"`'
        )
    if model.shape.kind is not ModelKind.CAUSAL:
        raise SettingError(
            f"`layers` supports causal models only, and {model.name} is {model.shape.kind}: leave `layers` out"
        )
    if options.placement is not Placement.BEFORE:
        raise SettingError(f'`layers` does not support `placement="{options.placement}"`: choose `placement="before"`')
    if not 0 < layers <= model.shape.num_layers:
        raise SettingError(
            f"`layers={layers}`: choose 1 to {model.shape.num_layers}, the number of layers of {model.name}"
        )
