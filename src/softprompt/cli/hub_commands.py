"""`softprompt push` and `softprompt pull`: upload prompts to the Hugging Face Hub, and download them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from softprompt.cli.console import print_json, stderr_console, stdout_console
from softprompt.cli.options import JsonOption
from softprompt.cli.progress_lines import ProgressLines, TaskProgress

RepositoryArgument = Annotated[str, typer.Argument(help="Repository on the Hub: OWNER/NAME.")]


def push_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    repository: RepositoryArgument,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    message: Annotated[
        str | None, typer.Option(help="Commit message.  \\[default: the number of virtual tokens]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a saved prompt to the Hugging Face Hub, with a model card.

    The command creates the repository if necessary. It uses the token of `hf auth login` or HF_TOKEN. Paths in the manifest
    are reduced to the last folder name, so that no path of this machine is published.
    """
    from softprompt.hub import push_to_hub

    with _show_spinner(f"pushing to {repository}"):
        pushed = push_to_hub(prompt, repository, private=private, commit_message=message)
    files = [*sorted(pushed.prompt.files), "README.md"]
    facts = {
        "repository": pushed.repo_id,
        "url": pushed.url,
        "commit": pushed.commit,
        "changed": pushed.is_new_commit,
        "files": files,
        "content_hash": pushed.prompt.manifest.content_hash,
    }
    if as_json:
        print_json(facts)
    elif pushed.is_new_commit:
        stdout_console.print(f"Pushed {', '.join(files)} to [bold]{escape(pushed.url)}[/].")
    else:
        stdout_console.print(f"[bold]{escape(pushed.url)}[/] already holds this prompt.")


def pull_command(
    repository: RepositoryArgument,
    output: Annotated[Path, typer.Argument(help="Folder for the saved prompt.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.  \\[default: the newest]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing saved prompt.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a saved prompt from the Hugging Face Hub.

    The command verifies all hashes before it writes the folder, which is written completely or not at all. A private
    repository needs `hf auth login` or HF_TOKEN.
    """
    from softprompt.hub import pull_from_hub

    with _show_spinner(f"pulling {repository}"):
        pulled = pull_from_hub(repository, output, revision=revision, overwrite=overwrite)
    manifest = pulled.prompt.manifest
    if as_json:
        print_json(
            {
                "prompt": str(output),
                "repository": pulled.repo_id,
                "commit": pulled.commit,
                "files": sorted(pulled.prompt.files),
                "content_hash": manifest.content_hash,
            }
        )
    else:
        tokens = f"{manifest.num_virtual_tokens} virtual tokens for {manifest.base.name}"
        stdout_console.print(f"Pulled {escape(tokens)} into [bold]{escape(str(output))}[/].")


@contextmanager
def _show_spinner(description: str) -> Iterator[None]:
    """Show a spinner on standard error instead of the progress bars of huggingface_hub."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    had_progress_bars = not are_progress_bars_disabled()
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    lines = ProgressLines(stderr_console, TaskProgress(description))
    with (
        Progress(*columns, console=stderr_console, transient=True, disable=not stderr_console.is_terminal) as progress,
        lines.print_periodically(),
    ):
        progress.add_task(description, total=None)
        if had_progress_bars:
            disable_progress_bars()
        try:
            yield
        finally:
            if had_progress_bars:
                enable_progress_bars()
