"""The code of the documentation runs: README.md and every page of docs/ are executed, block after block, page by page.

In a ```bash block every line that starts with `softprompt ` is run as the program would run it, and must exit with 0. A
```python block is executed; the blocks of a page share their variables. A block with a file's name behind its language
(```jsonl train.jsonl) is written as that file. In ```sh stand commands that no test can run (they install): of those,
`make TARGET` must name a target of the Makefile. Other blocks are for reading. `tests/examples/` executes the pages of
docs/tutorials/, behind their scripts.

Each page runs in an empty folder of its own. What is substituted, so that this takes seconds:

* the embedded model: a tiny random Llama with a window of 1,024 tokens answers to the name `smollm2-135m`, so what the
  model says is noise, and figures are not compared with the text;
* `max_steps`: every run stops after 2 updates, whatever the page says (`softprompt demo` is given `--max-steps 2`);
* the data: `train.jsonl`, `val.jsonl` and `test.jsonl` (text, label), `answers.jsonl` and `answers.test.jsonl` (input,
  output) and `reviews.txt` are small files made here, unless the page has written its own;
* prompts that a page uses and does not make: `prompts/reviews` (a prefix) and `prompts/answers`, tuned once in advance;
* a PostgreSQL database and a place in S3: real ones that the tests start, under names of `example.com`;
* the Hub: an empty one on loopback, where the account is `acme`;
* warnings: transformers' Trainer may warn.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import softprompt
from softprompt import errors
from softprompt.cli.main import run_cli
from softprompt.comparison import CompareSettings
from softprompt.comparison.runs.method_job import MethodJob
from softprompt.comparison.runs.method_worker import EventWriter, run_job
from softprompt.distillation import DistillSettings
from softprompt.prompts import TUNING_METHODS
from softprompt.prompts.initializers import EMBEDDING_INITIALIZERS, PREFIX_INITIALIZERS
from softprompt.saved import BaseModelInfo, Manifest
from softprompt.training import TuneSettings
from softprompt.training.run_settings import RunSettings
from tests.hub.fake_hub import connected
from tests.tiny import tiny_tokenizer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
STEPS = 2
DATABASE, BUCKET = "postgresql://softprompt@db.example.com/softprompt", "s3://example-prompts/softprompt"
PLACES: dict[str, str] = {}
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

#: The page of a noun, where it is not named as the module is.
PAGE_OF = {
    "atomic": "saved_prompt",
    "comma_lists": "tasks",
    "fair_queue": "server",
    "gc_pause": "model",
    "hf_model": "wrapper",
    "hub_probe": "hub",
    "log_formatter": "errors",
    "message_parameters": "errors",
    "model_api": "comparison",
    "placement": "prompts",
    "recent_tenants": "server",
    "registry": "store",
    "sampling": "engine",
    "saved": "saved_prompt",
    "service_counters": "engine",
    "thread_wait_policy": "training",
    "unicode_text": "errors",
    "updatable_heap": "server",
    "vllm_protocol": "vllm",
}


class Block(NamedTuple):
    language: str
    file: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = re.finditer(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2] or "", match[3]) for match in found]


def is_executed(block: Block) -> bool:
    return block.language in ("bash", "python") or bool(block.file)


EXECUTED = [page for page in PAGES if any(map(is_executed, blocks(page)))]


def named(page: Path) -> str:
    return page.stem


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model that stands in for the embedded one: no BOS, as there."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = CHAT_TEMPLATE
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        intermediate_size=40,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def substituted(tiny: Path) -> Iterator[pytest.MonkeyPatch]:
    """The tiny model under the embedded one's name, and short runs; afterwards all is as it was."""
    of = TuneSettings.from_dict

    def short(values: dict[str, Any]) -> TuneSettings:
        return of(
            {**values, "max_steps": min(values.get("max_steps", STEPS), STEPS), "layers": values.get("layers") and 1}
        )

    compared, distilled = CompareSettings.from_dict, DistillSettings.from_dict

    def short_distillation(values: dict[str, Any]) -> DistillSettings:
        return distilled({**values, "max_steps": min(values.get("max_steps", STEPS), STEPS)})

    def brief(values: dict[str, Any]) -> CompareSettings:
        return compared({**values, "max_steps": 1, "seeds": 1, "trials": 1})

    logger = logging.getLogger("softprompt")
    before = logger.handlers[:], logger.level, logger.propagate
    with pytest.MonkeyPatch.context() as patch:
        for module in ("model_files", "bundled_models"):
            patch.setattr(f"softprompt.model.{module}.unpack_bundled_model", lambda _: tiny)
        patch.setattr(TuneSettings, "from_dict", staticmethod(short))
        patch.setattr(CompareSettings, "from_dict", staticmethod(brief))
        patch.setattr(DistillSettings, "from_dict", staticmethod(short_distillation))
        patch.setattr("softprompt.comparison.comparison_runner.run_in_subprocess", run_here)
        yield patch
    logger.handlers[:], logger.level, logger.propagate = before


def run_here(job: MethodJob, log: Path, heard: Any) -> None:
    """What a worker does, in this process: in one of its own there would be the real model."""
    run_job(job, EventWriter(io.StringIO()))


def write_data(folder: Path) -> None:
    reviews = [
        {"text": f"{subject} was {word}", "label": label}
        for subject in ("the film", "the plot", "its ending")
        for word, label in (("great fun", "positive"), ("a bore", "negative"))
    ]
    answers = [{"input": row["text"], "output": f"Thank you: {row['label']}"} for row in reviews]
    mixed = [{**row, "domain": ("film", "song")[i % 3 // 2]} for i, row in enumerate(reviews)]
    contents = {
        "mixed.jsonl": mixed,
        "new.jsonl": reviews,
        **dict.fromkeys(("train.jsonl", "val.jsonl"), reviews),
        "test.jsonl": [{**row, "text": f"{row['text']}, all in all"} for row in reviews],
        **dict.fromkeys(("answers.jsonl", "answers.test.jsonl"), answers),
    }
    for name, rows in contents.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "reviews.txt").write_text("the film was great fun\nits ending was a bore\n", "utf-8")


@pytest.fixture(scope="module")
def prompts(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts for pages that use one without making it."""
    folder = tmp_path_factory.mktemp("prompts")
    write_data(folder)
    with substituted(tiny):
        softprompt.tune(data=folder / "train.jsonl", validation=folder / "val.jsonl", output=folder / "reviews")
        softprompt.tune(data=folder / "answers.jsonl", output=folder / "answers")
    return folder


def supply(prompts: Path, text: str) -> None:
    """Put there the prompts that a block reads and nothing has made."""
    for name in ("reviews", "answers"):
        mentioned = rf"prompts/{name}(?![\w-])"
        made_here = re.search(rf'output[ =]"?{mentioned}', text)
        if re.search(mentioned, text) and not made_here and not Path("prompts", name).exists():
            shutil.copytree(prompts / name, Path("prompts", name))


def commands(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith(("softprompt ", "accelerate launch "))]


def run_command(line: str, patch: pytest.MonkeyPatch) -> int:
    """Run a line in this process; `< FILE` at its end is standard input.

    What would be launched in several runs in one: `tests/training/test_data_parallel.py` launches it.
    """
    words, _, file = line.partition(" < ")
    words = words[words.index("softprompt ") :]
    for written, meant in PLACES.items():
        words = words.replace(written, meant)
    arguments = shlex.split(words)[1:]
    if arguments[0] == "demo":
        arguments += ["--max-steps", str(STEPS)]
    patch.setattr(sys, "stdin", io.StringIO(Path(file.strip()).read_text("utf-8") if file else ""))
    return run_cli(arguments)


@pytest.fixture
def shared(request: pytest.FixtureRequest, page: Path) -> None:
    """Where a page names a database and a place that several machines share, real ones stand in for them."""
    if DATABASE in page.read_text("utf-8"):
        PLACES[DATABASE] = shlex.quote(request.getfixturevalue("postgres").schema())
        PLACES[BUCKET] = request.getfixturevalue("objects").place()


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("page", EXECUTED, ids=named)
def test_the_code_blocks_and_commands_of_a_page_run(
    page: Path, tiny: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path)
    variables: dict[str, Any] = {}
    with substituted(tiny) as patch, connected(patch, tmp_path / ".huggingface"):
        patch.chdir(tmp_path)
        for block in filter(is_executed, blocks(page)):
            if block.file:
                Path(block.file).write_text(block.text, "utf-8")
                continue
            supply(prompts, block.text)
            if block.language == "python":
                exec(compile(block.text, f"{page.name}, a block of python", "exec"), variables)
                continue
            for line in commands(block.text):
                code = run_command(line, patch)
                assert code == 0, f"{page.name}: {line}\nexit code {code}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS], ids=named)
def test_every_shell_block_of_a_page_has_commands_that_are_checked(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for block in blocks(page):
        if block.language == "sh":
            made = [line.split()[1] for line in block.text.splitlines() if line.startswith("make ")]
            assert set(made) <= set(targets)
        if block.language == "bash":
            assert commands(block.text), f"{page.name}: nothing in this block would be run:\n{block.text}"
    assert not any(block.language in ("console", "shell") for block in blocks(page))


def nouns() -> list[str]:
    source = ROOT / "src" / "softprompt"
    modules = [path.stem for path in source.glob("*.py") if not path.stem.startswith("__")]
    return sorted(modules + [path.parent.name for path in source.glob("*/__init__.py")])


@pytest.mark.parametrize("noun", nouns())
def test_every_module_of_the_package_has_a_page(noun: str) -> None:
    assert (DOCS / f"{PAGE_OF.get(noun, noun)}.md").is_file()


def anchors(page: Path) -> set[str]:
    """The headings of a page as the links to them are written."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS], ids=named)
def test_links_on_a_page_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("training", TuneSettings.model_fields),
        ("distillation", set(DistillSettings.model_fields) - set(RunSettings.model_fields)),
        ("prompts", {**TUNING_METHODS, **EMBEDDING_INITIALIZERS, **PREFIX_INITIALIZERS}),
        ("saved_prompt", {**Manifest.model_fields, **BaseModelInfo.model_fields}),
        (
            "errors",
            [
                name
                for name, each in vars(errors).items()
                if isinstance(each, type) and each.__module__ == errors.__name__
            ],
        ),
        (
            "dependencies",
            re.findall(r'^    "([\w-]+)(?=[>=<])', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE),
        ),
        ("benchmarks", [path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__")]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_page_lists_every_name_of_the_code(page: str, names: list[str]) -> None:
    text = (DOCS / f"{page}.md").read_text("utf-8")
    assert not [name for name in names if f"`{name}" not in text]


def test_the_documented_training_defaults_equal_those_of_the_code() -> None:
    page = (DOCS / "training.md").read_text("utf-8")
    written = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", page, re.MULTILINE))
    for name, field in TuneSettings.model_fields.items():
        if isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
            default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert written[name] == default
    usual, *others = re.findall(r"\d+|`[\w-]+`", re.search(r"`num_virtual_tokens` \| (.*?) \|", page)[1])
    said = {name: int(usual) for name in TUNING_METHODS} | {
        name.strip("`"): int(P) for P, name in zip(others[::2], others[1::2], strict=True)
    }
    assert said == {name: method.default_num_virtual_tokens for name, method in TUNING_METHODS.items()}
    fractions = {
        method: float(fraction)
        for methods, fraction in re.findall(r"^\| (`.*`) \| (0\.\d+) \|$", page, re.MULTILINE)
        for method in re.findall(r"`([\w-]+)`", methods)
    }
    assert fractions == {name: method.lr_fraction for name, method in TUNING_METHODS.items()}


def test_the_help_pages_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, str(DOCS / "generate_cli.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
