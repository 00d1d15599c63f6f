"""Commands whose options are settings: one option per field of `TuneSettings` or `DistillSettings`."""

from __future__ import annotations

import ast
import inspect
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from softprompt.cli.option_parser import TEXT_FORM_HELP
from softprompt.gc_pause import pause_gc
from softprompt.message_parameters import replace_parameters

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from softprompt.training.run_settings import RunSettings

OPTION_TYPES = (bool, int, float, Path)  # settings of other types are given as text


class SettingsCommand(TyperCommand):
    """A command with an option for each setting of a run, in front of the options of its function.

    The function finds the settings that were given, by name, in `obj` of its `typer.Context`. The options are made on first
    use, because other commands must not wait for the settings' module.
    """

    def load_settings_class(self) -> type[RunSettings]:
        """Import the class of the settings."""
        raise NotImplementedError

    context_class = typer.Context

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._function_options = vars(self).pop("params")

    @cached_property
    def params(self) -> list[Any]:  # type: ignore[override]
        """All options of the command."""
        return [*self.setting_options, *self._function_options]

    @cached_property
    def setting_options(self) -> list[Any]:
        """The options for the settings."""
        with pause_gc():
            settings_class = self.load_settings_class()
        return build_options(settings_class.model_fields)

    def invoke(self, ctx: Any) -> Any:
        """Run the function, with the given settings in the context's `obj`."""
        settings = {option.name: ctx.params.pop(option.name) for option in self.setting_options}
        ctx.obj = {name: value for name, value in settings.items() if value is not None}
        return super().invoke(ctx)


class TuneSettingsCommand(SettingsCommand):
    """A command with an option for each setting of `tune`."""

    def load_settings_class(self) -> type[RunSettings]:
        """Import the class of the settings."""
        from softprompt.training.tune_settings import TuneSettings

        return TuneSettings


class DistillSettingsCommand(SettingsCommand):
    """A command with an option for each setting of `distil`."""

    def load_settings_class(self) -> type[RunSettings]:
        """Import the class of the settings."""
        from softprompt.distillation.distill_settings import DistillSettings

        return DistillSettings


def build_options(fields: dict[str, FieldInfo]) -> list[Any]:
    """Build the options for settings: by group, required ones first. An option that is not given has the value None."""
    from softprompt.training.shared_settings import SettingGroup

    panels: list[str | None] = [None, *SettingGroup]
    options = _make_options([_build_parameter(name, field) for name, field in fields.items()])
    return sorted(
        options, key=lambda option: (panels.index(option.rich_help_panel), not fields[option.name].is_required())
    )


def _build_parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Build a parameter of a function from which typer makes the option for a setting."""
    from softprompt.training.shared_settings import SettingGroup

    types = {*get_args(field.annotation), field.annotation} - {NoneType}
    types = types - {field.annotation} or types
    option_type: Any = next((kind for kind in OPTION_TYPES if types == {kind}), str)
    group = next((item for item in field.metadata if isinstance(item, SettingGroup)), None)
    option = typer.Option(_format_flag(name), help=_format_help(name, field), rich_help_panel=group)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[option_type | None, option]
    )


def _make_options(parameters: list[inspect.Parameter]) -> list[Any]:
    """Let typer make options from the parameters of a function."""

    def function() -> None: ...

    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return typer.main.get_command(app).params


def _format_help(name: str, field: FieldInfo) -> str:
    """Format the help of an option: the description of the setting, and its default."""
    description, _, default = (field.description or "").partition(" [default: ")
    text = TEXT_FORM_HELP.get(name) or replace_parameters(description, _format_flag)
    default = default.rstrip("]") or _format_default(field.default)
    return f"{text}  \\[default: {default}]" if default else text  # escaped, since the help is markup


def _format_default(default: Any) -> str:
    match default:
        case int() | float() if not isinstance(default, bool):
            return f"{default:g}"
        case str():
            return str(default)
    return ""


def _format_flag(name: str, value: str | None = None) -> str:
    flag = f"--{name.replace('_', '-')}"
    return flag if value is None else f"{flag} {ast.literal_eval(value)}"
