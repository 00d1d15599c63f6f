"""`softprompt export` and `softprompt import`: convert prompts to and from other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from softprompt.cli.console import print_json, stderr_console, stdout_console
from softprompt.cli.options import BaseModelOption, DeviceOption, DtypeOption, JsonOption
from softprompt.cli.progress_lines import show_activity
from softprompt.errors import SettingError

PROMPT_EMBEDS_FORMAT = "prompt-embeds"


def export_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    output: Annotated[Path, typer.Argument(help="Output folder.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="peft: a peft adapter. peft-cartridge: a prefix as a CARTRIDGE adapter of peft. prefix: the prompt "
            "compiled to keys and values. prompt-embeds: embeddings of the prompt and a text.",
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(help="For prompt-embeds: the value of the template's field, or the user message in a chat."),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="For prompt-embeds: number of tokens to reserve for the response.")
    ] = 128,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing saved prompt.")] = False,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Convert a prompt to another format.

    `--format peft`: only the files of the peft adapter. A saved prompt that peft can express already contains these files;
    the command refuses prompts that peft would apply incorrectly. `--format peft-cartridge`: the same keys and values as
    `--format peft` writes for a prefix, under peft's type CARTRIDGE. `--format prefix`: runs the virtual tokens through the
    model once and saves their keys and values of every layer, the form that serving engines load. `--format prompt-embeds`:
    the input embeddings of one text, virtual tokens included, the form that vLLM accepts as `prompt_embeds`.
    """
    from softprompt.atomic import atomic_write_folder
    from softprompt.saved import SavedPrompt, serialize_cartridge_adapter, serialize_peft_adapter
    from softprompt.saved.foreign_files import PROMPT_EMBEDS_FILE, PROMPT_EMBEDS_KEY
    from softprompt.saved.output_folder import check_output_free

    if (text is None) == (format_ == PROMPT_EMBEDS_FORMAT):
        raise SettingError(f"--text and --format {PROMPT_EMBEDS_FORMAT} need each other: pass both or neither")
    match format_:
        case "peft" | "peft-cartridge":
            saved = SavedPrompt.from_folder(prompt)
            base = saved.manifest.base
            serialize = serialize_peft_adapter if format_ == "peft" else serialize_cartridge_adapter
            files = serialize(saved.payload, base.shape, base.name, has_head=saved.head is not None)
        case "prefix":
            from softprompt.cli.prompt_and_model import load_prompt_and_model

            saved, loaded = load_prompt_and_model(prompt, model, device, dtype)
            files = saved.to_prefix(loaded).files
        case "prompt-embeds":
            from softprompt.cli.prompt_and_model import load_prompt_and_model
            from softprompt.saved.prompt_embeds import build_prompt_embeds
            from softprompt.saved.tensor_files import serialize_tensors

            assert text is not None
            saved, loaded = load_prompt_and_model(prompt, model, device, dtype)
            files = {
                PROMPT_EMBEDS_FILE: serialize_tensors(
                    {PROMPT_EMBEDS_KEY: build_prompt_embeds(saved, loaded, text, max_new_tokens)}
                )
            }
        case _:
            raise SettingError(
                f"unknown format {format_!r}: choose peft, peft-cartridge, prefix or {PROMPT_EMBEDS_FORMAT}"
            )
    check_output_free(output, overwrite)
    atomic_write_folder(output, files)
    if as_json:
        print_json({"output": str(output), "format": format_, "files": sorted(files)})
    else:
        stdout_console.print(f"Wrote {', '.join(sorted(files))} to [bold]{escape(str(output))}[/].")


def import_command(
    peft_folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of a peft adapter: prompt tuning (also multitask), P-tuning, CPT, prefix tuning or CARTRIDGE."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the new saved prompt.")],
    template: Annotated[
        str | None, typer.Option(help="Template that the adapter was trained with, such as '{text}\\nLabel:'.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels of a classification, comma-separated. Quote a label with a comma.")
    ] = None,
    verbalizer: Annotated[str | None, typer.Option(help="Word or phrase for each label: 0=bad,1=good.")] = None,
    task: Annotated[int | None, typer.Option("--task", help="Task index in a multitask prompt: 0, 1, …")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing saved prompt.")] = False,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Convert a peft adapter to a saved prompt.

    A peft adapter does not contain the task: pass the template, and the labels of a classification.
    """
    from softprompt.cli.option_parser import parse_options
    from softprompt.model import load_model
    from softprompt.saved import SavedPrompt, read_peft_adapter
    from softprompt.saved.peft_adapter_reader import read_adapter_config
    from softprompt.tasks.task import infer_task

    config = read_adapter_config(peft_folder)
    options = {"template": template, "labels": labels, "verbalizer": verbalizer}
    saved_task = infer_task(**parse_options({name: value for name, value in options.items() if value is not None}))
    name = model or config.get("base_model_name_or_path")
    if not name:
        raise SettingError(f"{peft_folder} does not name its base model: pass --model")
    with show_activity(stderr_console, f"loading {name}"):
        loaded = load_model(str(name), device=device, dtype=dtype)
    payload = read_peft_adapter(peft_folder, loaded.shape, task)
    method = {"name": f"peft {config['peft_type']}"}
    saved = SavedPrompt.from_payload(
        loaded, payload, saved_task, method=method, trained_parameters=payload.tensor.numel()
    )
    saved.save_to(output, overwrite=overwrite)
    if as_json:
        print_json({"prompt": str(output), "method": method["name"], "num_virtual_tokens": payload.num_virtual_tokens})
    else:
        tokens = f"{payload.num_virtual_tokens} virtual tokens ({method['name']})"
        stdout_console.print(f"Imported {tokens} into [bold]{escape(str(output))}[/].")
