"""Make the pictures of the documentation from real runs: docs/images/terminal.svg and docs/images/page.png.

    python docs/generate_images.py

It records `softprompt demo` and `softprompt classify`, tunes a second prompt that writes replies, serves both, and
takes a screenshot of the playground with Chromium (`make browser`, or CHROMIUM=PATH). That takes a few minutes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import httpx2
from playwright.sync_api import sync_playwright

import softprompt
from softprompt.cli import output
from softprompt.cli.main import run_cli

IMAGES = Path(__file__).with_name("images")
TERMINAL_COLUMNS = 96
MESSAGE = "My parcel should have come on Monday, and the tracking page has not changed since."
REPLIES = (
    ("The lamp arrived with a crack in it.", "We are sorry about the lamp! A new one is on its way to you today."),
    ("I was charged twice for my order.", "Sorry about that! We have returned the second payment to your card."),
    ("My order still has not arrived.", "We are sorry for the wait! We will find your order and write to you today."),
    ("How do I change my address?", "Thank you for asking! Send us the new address, and we will change it today."),
    ("The shoes are too small for me.", "No problem at all! Send them back, and we will mail you a larger pair."),
    ("Is the blue jacket back in stock?", "Thank you for asking! The blue jacket will be back in stock next week."),
    ("I cannot log in to my account.", "We are sorry! We have sent you a link that opens your account again."),
    ("The tracking number does not work.", "We are sorry about the tracking! We will find your parcel today."),
)


def main() -> None:
    """Make both pictures."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        record_terminal(IMAGES / "terminal.svg")
        tune_replies(Path("prompts/replies"))
        with run_server({"support": Path("prompts/support"), "replies": Path("prompts/replies")}) as url:
            for _ in range(2):  # the first requests warm the server up
                capture_playground(url, IMAGES / "page.png")


def record_terminal(path: Path) -> None:
    """Run the demo and classify a message, and write what the terminal shows as SVG."""
    console = output.stdout_console
    console.record, console.soft_wrap = True, False
    console.width = TERMINAL_COLUMNS
    for arguments in (["demo"], ["classify", "prompts/support", "my parcel never arrived"]):
        console.print(f"[bold green]$[/] [bold]softprompt {shlex.join(arguments)}[/]")
        if code := run_cli(arguments):
            raise SystemExit(code)
        console.print()
    svg = console.export_svg(title="softprompt")
    path.write_text(re.sub(r',\s*url\("https://[^;]*', "", svg), encoding="utf-8")  # without fonts of other servers


def tune_replies(folder: Path) -> None:
    """Tune a prompt that replies to customers."""
    data = Path("replies.jsonl")
    data.write_text("".join(json.dumps({"input": text, "output": reply}) + "\n" for text, reply in REPLIES), "utf-8")
    softprompt.tune(
        "smollm2-135m", data=data, output=folder, template="Customer: {input}\nReply:", method="prefix", max_steps=40
    )


@contextmanager
def run_server(prompts: dict[str, Path]) -> Iterator[str]:
    """Serve prompts without API keys, and yield the server's URL."""
    with softprompt.PromptRegistry.open("store", create=True) as registry:
        for name, folder in prompts.items():
            registry.register_prompt(folder, name)
    command = [sys.executable, "-m", "softprompt", "serve", "--model", "smollm2-135m", "--no-auth", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+(?=/v1)", process.stdout.readline())
            assert address is not None
            httpx2.get(f"{address[0]}/health").raise_for_status()
            yield address[0]
        finally:
            process.terminate()


def capture_playground(url: str, path: Path) -> None:
    """Send a message to the base model and all prompts in the playground, and take a screenshot of the responses."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=1.5)
        page.goto(url)
        for name in ("smollm2-135m", "replies", "support"):
            page.get_by_role("checkbox", name=re.compile(f"^{name} ")).check()
        page.get_by_label("Text", exact=True).fill(MESSAGE)
        page.get_by_label("Max tokens").fill("40")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("3 of 3 answered").wait_for(state="attached")
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=path, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
