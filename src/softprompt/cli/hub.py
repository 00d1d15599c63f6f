"""`softprompt push` and `softprompt pull`: prompts to and from the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from softprompt.cli.output import Json, notes, people, print_json
from softprompt.cli.progress_lines import Activity, ProgressLines

Repository = Annotated[str, typer.Argument(help="The repository on the Hub: OWNER/NAME.")]


def push(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    repository: Repository,
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only its owner sees.")] = False,
    message: Annotated[
        str | None, typer.Option(help="The commit's message.  \\[default: the number of virtual tokens]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a saved prompt to the Hugging Face Hub, with a card that says what it does and how to use it.

    The repository is made if need be. The token is that of `hf auth login` or HF_TOKEN. A folder that the prompt names
    goes by its last name alone, so that no path of this machine is published.
    """
    from softprompt.hub import push as send

    with _waiting(f"pushing to {repository}"):
        pushed = send(prompt, repository, private=private, message=message)
    files = [*sorted(pushed.prompt.files), "README.md"]
    facts = {
        "repository": pushed.repository,
        "url": pushed.url,
        "commit": pushed.commit,
        "changed": pushed.changed,
        "files": files,
        "content_hash": pushed.prompt.manifest.content_hash,
    }
    if as_json:
        print_json(facts)
    elif pushed.changed:
        people.print(f"Pushed {', '.join(files)} to [bold]{escape(pushed.url)}[/].")
    else:
        people.print(f"[bold]{escape(pushed.url)}[/] holds this prompt already.")


def pull(
    repository: Repository,
    output: Annotated[Path, typer.Argument(help="The saved prompt's folder to make.")],
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit.  \\[default: the newest]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a saved prompt that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a saved prompt from the Hugging Face Hub.

    What comes is checked against its hashes before anything is written, and the folder appears whole or not at all. A
    private repository needs `hf auth login` or HF_TOKEN.
    """
    from softprompt.hub import pull as fetch

    with _waiting(f"pulling {repository}"):
        pulled = fetch(repository, output, revision=revision, overwrite=overwrite)
    manifest = pulled.prompt.manifest
    if as_json:
        print_json(
            {
                "prompt": str(output),
                "repository": pulled.repository,
                "commit": pulled.commit,
                "files": sorted(pulled.prompt.files),
                "content_hash": manifest.content_hash,
            }
        )
    else:
        tokens = f"{manifest.num_virtual_tokens} virtual tokens for {manifest.base.name}"
        people.print(f"Pulled {escape(tokens)} into [bold]{escape(str(output))}[/].")


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """A line on standard error that moves until it is done, in the place of huggingface_hub's several bars."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    lines = ProgressLines(notes, Activity(what))
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as progress, lines.shown():
        progress.add_task(what, total=None)
        if shown:
            disable_progress_bars()
        try:
            yield
        finally:
            if shown:
                enable_progress_bars()
