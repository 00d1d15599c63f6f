"""The command line run in this process, tiny models in folders, and prompts tuned on them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import softprompt as package
from softprompt.cli.main import run_cli
from softprompt.training import EvalEvent, StepEvent
from tests.chat_templates import WITH_DEFAULT_SYSTEM, chat_model
from tests.conftest import REVIEWS
from tests.tiny import tiny_model


@dataclass(frozen=True)
class Ran:
    """Outcome of a command line: exit code, standard output, and standard error with its lines joined."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """JSON object that the whole standard output consists of."""
        assert self.code == 0, self.err
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    def refused(self, *words: str) -> None:
        """Check that the command reported a user error with these words, and printed nothing else."""
        assert self.code == 2, self.err
        assert "error:" in self.err
        for word in words:
            assert word in self.err, self.err
        assert "Traceback" not in self.err
        assert self.out == ""


class StopAfter:
    """Callback that requests a stop after a step, as Ctrl-C does."""

    def __init__(self, step: int):
        self.step, self.seen = step, 0

    def on_begin(self, steps: int, done: int) -> None: ...

    def on_step(self, event: StepEvent) -> None:
        self.seen = event.step

    def on_evaluate(self, event: EvalEvent) -> None: ...

    def should_stop(self) -> bool:
        return self.seen >= self.step


Softprompt = Callable[..., Ran]
Tune = Callable[..., Ran]
Distil = Callable[..., Ran]
WriteJsonl = Callable[[str, Sequence[Any]], Path]

DISTILLED_TEXT = "the film was great fun and the food is awful, so say good or bad"


@pytest.fixture
def softprompt(capsys: pytest.CaptureFixture[str]) -> Iterator[Softprompt]:
    """Function that runs a command line in this process."""

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run_cli([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, " ".join(err.split()))

    logger = logging.getLogger("softprompt")
    before = logger.handlers[:], logger.level, logger.propagate
    yield call
    logger.handlers[:], logger.level, logger.propagate = before


def saved_model(folder: Path, seed: int, family: str = "llama") -> Path:
    model = tiny_model(family, seed)
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model."""
    return saved_model(tmp_path_factory.mktemp("base"), seed=0)


@pytest.fixture(scope="session")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of another model of the same shape."""
    return saved_model(tmp_path_factory.mktemp("other"), seed=1)


def tuned(folder: Path, base: Path, rows: list[dict[str, Any]], **settings: Any) -> Path:
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    package.tune(
        str(base),
        data=data,
        validation=data,
        output=folder / "p",
        max_steps=3,
        batch_size=4,
        num_virtual_tokens=3,
        **settings,
    )
    return folder / "p"


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """Folder of a KV prefix that classifies reviews."""
    return tuned(tmp_path_factory.mktemp("classifier"), base, REVIEWS)


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """Folder of prompt embeddings for a generation task."""
    records = [{"input": f"food: {food}", "output": f"Aro serves {food}."} for food in ("rice", "fish", "tea", "pie")]
    return tuned(tmp_path_factory.mktemp("writer"), base, records, method="prompt")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Output path of a run, in a folder that does not exist yet."""
    return tmp_path / "out" / "p"


@pytest.fixture
def tune(softprompt: Softprompt, base: Path, reviews: Path, output: Path) -> Tune:
    """Function that runs `tune` for three steps on the reviews, unless the options override it."""

    def call(*options: object, data: Path = reviews) -> Ran:
        defaults = ("--model", base, "--max-steps", 3, "--batch-size", 4, "--num-virtual-tokens", 3)
        return softprompt("tune", *defaults, "--data", data, "--output", output, *options)

    return call


@pytest.fixture
def instruction(tmp_path: Path) -> Path:
    """Text to distill."""
    path = tmp_path / "text.txt"
    path.write_text(DISTILLED_TEXT, "utf-8")
    return path


@pytest.fixture
def inputs(write_jsonl: WriteJsonl) -> Path:
    """Inputs without answers."""
    return write_jsonl("inputs.jsonl", [{"input": f"food: {food}"} for food in ("rice", "fish", "tea", "pie")])


@pytest.fixture(scope="session")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model whose chat template has a default system message."""
    folder, model = tmp_path_factory.mktemp("chat"), chat_model(WITH_DEFAULT_SYSTEM)
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def distil(softprompt: Softprompt, base: Path, instruction: Path, inputs: Path, output: Path) -> Distil:
    """Function that runs `distil` for two steps on the inputs, unless the options override it."""

    def call(
        *options: object, source: Sequence[object] = ("--context", instruction), data: Path | None = inputs
    ) -> Ran:
        defaults = ("--model", base, "--max-steps", 2, "--num-virtual-tokens", 3, "--max-new-tokens", 4)
        learned = () if data is None else ("--data", data)
        return softprompt("distil", *defaults, "--output", output, *source, *learned, *options)

    return call


def files(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def logged(output: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl of the run that writes `output`."""
    return [json.loads(line) for line in (output.with_name("p.run") / "metrics.jsonl").read_text().splitlines()]
