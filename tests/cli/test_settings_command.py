"""Options of `tune` made from the fields of `TuneSettings`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import Field
from pydantic.fields import FieldInfo
from typer.main import get_command
from typer.testing import CliRunner

from softprompt.cli.main import app
from softprompt.cli.settings_command import SettingsCommand, build_options
from softprompt.training.shared_settings import SettingGroup, SharedSettings
from softprompt.training.tune_settings import TuneSettings


def build_option(**fields: tuple[Any, Any]) -> Any:
    [option] = build_options({name: FieldInfo.from_annotated_attribute(*field) for name, field in fields.items()})
    return option


def test_every_setting_is_an_option_of_tune_with_help() -> None:
    tune: Any = get_command(app).commands["tune"]  # type: ignore[attr-defined]
    options = {option.name: option for option in tune.setting_options}
    assert set(options) == set(TuneSettings.model_fields)
    for name, option in options.items():
        assert option.opts == [f"--{name.replace('_', '-')}"]
        assert option.help
        assert option.default is None


def test_setting_groups_are_help_panels_in_the_same_order() -> None:
    panels = [option.rich_help_panel for option in build_options(TuneSettings.model_fields)]
    assert list(dict.fromkeys(panels)) == [None, *SettingGroup]


@pytest.mark.parametrize(
    ("annotation", "typed", "value"),
    [
        (int | None, ["3"], 3),
        (float, ["0.5"], 0.5),
        (bool, [], True),
        (Path, ["a/b"], Path("a/b")),
        (str | None, ["text"], "text"),
        (tuple[str, ...] | None, ["a,b"], "a,b"),
    ],
    ids=str,
)
def test_an_option_has_the_type_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, annotation: Any, typed: list[str], value: Any
) -> None:
    option = build_option(some_name=(annotation, Field(description="Help.")))
    monkeypatch.setattr(SettingsCommand, "setting_options", [option])
    given: dict[str, Any] = {}

    def command(context: typer.Context, other: int = 1) -> None:
        given.update(context.obj, other=other)

    program = typer.Typer()
    program.command(cls=SettingsCommand)(command)
    assert CliRunner().invoke(program, ["--some-name", *typed]).exit_code == 0
    assert given == {"some_name": value, "other": 1}
    given.clear()
    assert CliRunner().invoke(program, ["--other", "2"]).exit_code == 0
    assert given == {"other": 2}


@pytest.mark.parametrize(
    ("annotation", "default", "description", "help_text"),
    [
        (int, 3, "Steps.", r"Steps.  \[default: 3]"),
        (float, 0.0, "Decay.", r"Decay.  \[default: 0]"),
        (str, "text", "Start. [default: text, or more]", r"Start.  \[default: text, or more]"),
        (int | None, None, "Steps. [default: all]", r"Steps.  \[default: all]"),
        (int | None, None, "Width.", "Width."),
        (bool, False, "Faster.", "Faster."),
        (str, "", 'For `task_kind="chat"`.', "For --task-kind chat."),
    ],
)
def test_option_help_is_the_description_with_flags_and_the_default(
    annotation: Any, default: Any, description: str, help_text: str
) -> None:
    assert build_option(name=(annotation, Field(default=default, description=description))).help == help_text


def test_shared_settings_are_a_subset_of_tune_settings() -> None:
    assert set(SharedSettings.model_fields) < set(TuneSettings.model_fields)
