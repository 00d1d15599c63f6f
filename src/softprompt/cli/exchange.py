"""`softprompt export` and `softprompt import`: prompts to and from other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from softprompt.cli.output import BaseModel, Device, Dtype, Json, notes, people, print_json
from softprompt.cli.progress_lines import busy
from softprompt.errors import SettingError

PROMPT_EMBEDS = "prompt-embeds"


def export(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    output: Annotated[Path, typer.Argument(help="The folder to make.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="peft: an adapter for peft alone. prefix: the same prompt compiled to keys and values. prompt-embeds: a "
            "text behind the prompt, embedded.",
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(help="For prompt-embeds: it fills the template's field, or is what the user says in a chat."),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="For prompt-embeds: of the longest response, for which room is left.")
    ] = 128,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a saved prompt that is there.")] = False,
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Write a prompt in another format.

    A saved prompt is a peft adapter already wherever peft can express it; `--format peft` writes that part alone, and
    refuses what peft would get wrong. `--format prefix` runs the virtual tokens through the model once and keeps what they
    leave in every layer: what serving engines load. `--format prompt-embeds` writes what the model sees of one text, virtual
    tokens included, as embeddings: what vLLM takes as `prompt_embeds`.
    """
    from softprompt.saved import SavedPrompt, write_peft
    from softprompt.saved.folders import write_folder
    from softprompt.saved.output_folder import check_free
    from softprompt.saved.own_files import EMBEDDED, EMBEDDED_KEY

    if (text is None) == (format_ == PROMPT_EMBEDS):
        raise SettingError(f"--text and --format {PROMPT_EMBEDS} go together: it is the text that is embedded")
    match format_:
        case "peft":
            saved = SavedPrompt.read(prompt)
            base = saved.manifest.base
            files = write_peft(saved.payload, base.shape, base.name, has_head=saved.head is not None)
        case "prefix":
            from softprompt.cli.loading import load

            saved, loaded = load(prompt, model, device, dtype)
            files = saved.compiled(loaded).files
        case "prompt-embeds":
            from softprompt.cli.loading import load
            from softprompt.saved.prompt_embeds import prompt_embeds
            from softprompt.saved.tensors import to_bytes

            assert text is not None
            saved, loaded = load(prompt, model, device, dtype)
            files = {EMBEDDED: to_bytes({EMBEDDED_KEY: prompt_embeds(saved, loaded, text, max_new_tokens)})}
        case _:
            raise SettingError(f"unknown format {format_!r}: one of peft, prefix, {PROMPT_EMBEDS}")
    check_free(output, overwrite)
    write_folder(output, files)
    if as_json:
        print_json({"output": str(output), "format": format_, "files": sorted(files)})
    else:
        people.print(f"Wrote {', '.join(sorted(files))} to [bold]{escape(str(output))}[/].")


def import_(
    peft_folder: Annotated[
        Path, typer.Argument(help="A peft adapter: prompt tuning (also multitask), P-tuning, CPT or prefix tuning.")
    ],
    output: Annotated[Path, typer.Argument(help="The saved prompt's folder to make.")],
    template: Annotated[
        str | None, typer.Option(help="What the model saw in training, such as '{text}\\nLabel:'.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Comma-separated, for a classification; one with a comma in quotes.")
    ] = None,
    verbalizer: Annotated[str | None, typer.Option(help="What the model says for a label: 0=bad,1=good.")] = None,
    task: Annotated[int | None, typer.Option("--task", help="Which task's, of a multitask prompt: 0, 1, …")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a saved prompt that is there.")] = False,
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Turn a prompt that peft trained into a saved prompt.

    peft does not record the task: say the template, and the labels of a classification.
    """
    from softprompt.cli.parsing import parsed
    from softprompt.model import load_model
    from softprompt.saved import SavedPrompt, read_peft
    from softprompt.saved.peft_format import read_peft_config
    from softprompt.tasks.task import described

    config = read_peft_config(peft_folder)
    options = {"template": template, "labels": labels, "verbalizer": verbalizer}
    asked = described(**parsed({name: value for name, value in options.items() if value is not None}))
    name = model or config.get("base_model_name_or_path")
    if not name:
        raise SettingError(f"{peft_folder} does not name its base model: say --model")
    with busy(notes, f"loading {name}"):
        loaded = load_model(str(name), device=device, dtype=dtype)
    payload = read_peft(peft_folder, loaded.shape, task)
    method = {"name": f"peft {config['peft_type']}"}
    saved = SavedPrompt.make(loaded, payload, asked, method=method, trained_parameters=payload.tensor.numel())
    saved.write(output, overwrite=overwrite)
    if as_json:
        print_json({"prompt": str(output), "method": method["name"], "virtual_tokens": payload.num_virtual_tokens})
    else:
        tokens = f"{payload.num_virtual_tokens} virtual tokens ({method['name']})"
        people.print(f"Imported {tokens} into [bold]{escape(str(output))}[/].")
