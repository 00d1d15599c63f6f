"""`softprompt tune`: train a prompt on examples."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from softprompt.cli.output import FormatName, Json, Names, notes, print_json, speaks
from softprompt.cli.parsing import parsed
from softprompt.cli.task_options import PANEL as TASK
from softprompt.cli.task_options import LabelField, Labels, ResponseField, TaskName, TemplateText, Verbalizer
from softprompt.cli.tuned import report, summary
from softprompt.errors import CheckpointError, DataError, SettingError

if TYPE_CHECKING:
    from softprompt.training import Tuned, TuneSettings, Watcher

PROMPT, TRAINING, RUN, MACHINE = "Prompt", "Training", "Run", "Machine"


def tune(
    data: Annotated[
        str | None,
        typer.Option(
            help="Examples to learn from: JSONL, JSON, CSV, TSV, Parquet, a folder of save_to_disk, or hf:NAME[:1000] of the Hub.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder for the saved prompt; the run's own files go to OUTPUT.run.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="smollm2-135m (embedded), a folder, a .gguf file, or a Hub id.  \\[default: smollm2-135m]"),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Examples to choose the best step by.  \\[default: a tenth of the data is held out]"),
    ] = None,
    validation_rows: Annotated[
        int | None,
        typer.Option(
            help="At most so many validation examples are measured, each label with its share; 0: all.  \\[default: 1000]"
        ),
    ] = None,
    map_: Names = None,
    format_: FormatName = None,
    task: TaskName = None,
    template: TemplateText = None,
    labels: Labels = None,
    verbalizer: Verbalizer = None,
    label_field: LabelField = None,
    task_field: Annotated[
        str | None,
        typer.Option(
            help="The field that names each example's task, where --method multitask learns several together.",
            rich_help_panel=TASK,
        ),
    ] = None,
    response_field: ResponseField = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="prompt, residual, p-tuning, multitask, context, prefix or p-tuning-v2.  \\[default: prefix]",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    virtual_tokens: Annotated[
        int | None,
        typer.Option(
            help="How many virtual tokens.  \\[default: 40; 200 for prompt and multitask; at most 200 for context]",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="What they start from: text, text:'…', labels, vocab, random, zeros, prompt:FOLDER.  \\[default: text: an example of each label if they fit, else the task in words]",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Reparametrise while training: none or mlp (prefix), mlp or lstm (p-tuning).", rich_help_panel=PROMPT
        ),
    ] = None,
    encoder_hidden: Annotated[int | None, typer.Option(help="The encoder's width.", rich_help_panel=PROMPT)] = None,
    placement: Annotated[
        str | None,
        typer.Option(
            help="Where they stand: before, after-bos or after-text.  \\[default: before]", rich_help_panel=PROMPT
        ),
    ] = None,
    task_rank: Annotated[
        int | None,
        typer.Option(
            help="The rank of each task's own part, with --method multitask.  \\[default: 1]", rich_help_panel=PROMPT
        ),
    ] = None,
    freeze_sink: Annotated[
        bool | None,
        typer.Option(
            "--freeze-sink", help="Keep the first virtual token's keys as they start.", rich_help_panel=PROMPT
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            help="In how many of the top layers a prefix trains: fewer are faster, since what lies below is computed "
            "once for each text.  \\[default: all]",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="How labels are read: verbalizer or linear.  \\[default: verbalizer; linear for p-tuning-v2, and inside a text]",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates in all.  \\[default: 100]", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples in a pass.  \\[default: 16]", rich_help_panel=TRAINING)
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Passes in an update.  \\[default: 1]", rich_help_panel=TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="AdamW's.  \\[default: what suits the method and the model]",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help="Share of the steps in which the rate rises.  \\[default: 0.1]", rich_help_panel=TRAINING),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="AdamW's.  \\[default: 0]", rich_help_panel=TRAINING)
    ] = None,
    clip: Annotated[
        float | None, typer.Option(help="Largest norm of the gradient.  \\[default: 1]", rich_help_panel=TRAINING)
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(help="Steps between evaluations.  \\[default: a quarter of them]", rich_help_panel=TRAINING),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after this many evaluations without a better one.  \\[default: never]", rich_help_panel=TRAINING
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of every random number.  \\[default: 0]", rich_help_panel=TRAINING)
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option("--gradient-checkpointing", help="Less memory, slower.", rich_help_panel=MACHINE),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.  \\[default: auto]", rich_help_panel=MACHINE)
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="auto, float32, bfloat16, float16, or quantised by bitsandbytes: int8, nf4.  \\[default: auto]",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    save_every: Annotated[
        int | None,
        typer.Option(help="Steps between checkpoints.  \\[default: with every evaluation]", rich_help_panel=RUN),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the last checkpoint of the run that began in OUTPUT; its settings need not be repeated.",
            rich_help_panel=RUN,
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a prompt or a run that is there.", rich_help_panel=RUN)
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings as TOML, named as the options; the command line has the last word.", rich_help_panel=RUN
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Train a prompt for each combination, together: lr=0.01,0.003,seed=0,1,2. Each gets a folder in OUTPUT.",
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(
            help="Train a prompt for each table \\[tasks.NAME] of a TOML file, together. Each gets a folder in OUTPUT.",
            rich_help_panel=RUN,
        ),
    ] = None,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Spread the runs of --sweep or --tasks over a Ray cluster: that of RAY_ADDRESS, or one on this machine.",
            rich_help_panel=RUN,
        ),
    ] = False,
    track: Annotated[
        str | None, typer.Option(help="Send the figures to tensorboard, wandb or trackio.", rich_help_panel=RUN)
    ] = None,
    as_json: Json = False,
) -> None:
    r"""Train a soft prompt on examples and save it.

    Reviews to sentiments, in a few minutes on two cores:

        softprompt tune --data train.jsonl --validation val.jsonl --output prompts/reviews
            --template 'Review: {text}\nSentiment:' --labels negative,positive

    The best prompt of the run, by the validation examples, is saved in OUTPUT. Beside it, OUTPUT.run holds metrics.jsonl,
    the resolved settings, a picture of the loss, and the checkpoint that --resume goes on from.
    """
    given = {name.rstrip("_"): value for name, value in locals().items() if value is not None}
    for name in ("resume", "overwrite", "config", "sweep", "tasks", "ray", "track", "as_json"):
        given.pop(name, None)
    if sweep or tasks is not None:
        from softprompt.cli.tune_many import runs_of, tune_many

        if track is not None:
            raise SettingError("--track follows one run: leave it out with --sweep and --tasks")
        runs = runs_of(_told(config), parsed(given), sweep, tasks)
        tune_many(runs, ray=ray, resume=resume, overwrite=overwrite, rank=tasks is None, as_json=as_json)
        return
    if ray:
        raise SettingError("--ray spreads many runs: name them with --sweep or --tasks")
    settings = resolved(parsed(given), config, resume)
    track = track or _read_config(config).get("track")
    tuned = run_watched(settings, resume=resume, overwrite=overwrite, track=track)
    if as_json:
        print_json(summary(tuned))
    else:
        report(tuned)


def resolved(given: dict[str, Any], config: Path | None, resume: bool) -> TuneSettings:
    """The settings: of the run to resume, or of the file; the command line on top."""
    from softprompt.training import TuneSettings
    from softprompt.training.run_folder import RunFolder
    from softprompt.training.settings import run_folder_of

    given = {**_told(config), **given}
    if not resume:
        return TuneSettings.of(given)
    if "output" not in given:
        raise SettingError("--resume needs --output: the folder that the run was to make")
    folder = RunFolder(run_folder_of(Path(given["output"])))
    before = TuneSettings.of(folder.read_settings()["settings"])
    now = TuneSettings.of({**before.model_dump(), **given})
    if changed := [n for n in given if getattr(now, n) != getattr(before, n) and n != "output"]:
        names = ", ".join(f"--{n.replace('_', '-')}" for n in changed)
        raise CheckpointError(f"the run began with other values of {names}: resume it as it was, or --overwrite")
    return now


def _told(config: Path | None) -> dict[str, Any]:
    """The settings of a TOML file; where its figures go is none."""
    return {name: value for name, value in _read_config(config).items() if name != "track"}


def _read_config(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    import tomllib

    try:
        content = tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"no file {config}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{config} is not TOML: {error}") from error
    return {_setting(name, config): value for name, value in content.items()}


def _setting(name: str, config: Path) -> str:
    """A setting by its name in a file, which is that of an option."""
    from softprompt.training import TuneSettings

    known = [*TuneSettings.model_fields, "track"]
    if name.replace("-", "_") not in known:
        raise SettingError(f"{config}: unknown setting {name!r}: one of {', '.join(known).replace('_', '-')}")
    return name.replace("-", "_")


def run_watched(
    settings: TuneSettings, *, resume: bool = False, overwrite: bool = False, track: str | None = None
) -> Tuned:
    """Run with a progress bar, and a tracker if one is named."""
    from softprompt.cli.progress import ProgressBar
    from softprompt.training import run
    from softprompt.training.tracking import Tracker, Watchers

    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBar(notes).listening())
        watchers: list[Watcher] = [
            bar,
            *([stack.enter_context(Tracker.open(track, settings))] if track and speaks else []),
        ]
        return run(settings, watcher=Watchers(watchers), resume=resume, overwrite=overwrite)
