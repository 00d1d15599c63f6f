"""What a way's cells depend on: a cell that was run with other facts is run again."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from softprompt import __version__
from softprompt.comparison.bench import Bench
from softprompt.comparison.way import Way
from softprompt.model import FrozenModel

LIBRARIES = ("torch", "transformers", "peft")
OURS = "softprompt."


def facts_of(bench: Bench, way: Way, steps: int) -> dict[str, Any]:
    """Everything that a way's results depend on; of a way that asks others nothing of the base model."""
    found = {
        "softprompt": __version__,
        "task": bench.task.model_dump(mode="json"),
        "data": data_of(bench),
        "read_as": [dict(bench.settings.map), bench.training.meaning.format.name],
        "way": _source(way),
        **way.uses(bench.settings),
    }
    if way.runs_here:
        found |= {"model": _model(bench.model), "neutral": list(bench.neutral), "libraries": _libraries()}
    return {**found, "steps": steps} if way.learns else found


def data_of(bench: Bench) -> dict[str, Any]:
    """The content of the splits."""
    splits = {"training": bench.training, "validation": bench.validation, "test": bench.test}
    splits |= {} if bench.elsewhere is None else {"out of domain": bench.elsewhere}
    return {name: [each.digest, len(each)] for name, each in splits.items()}


@lru_cache(maxsize=1)  # a vocabulary of a hundred thousand is not sorted for every way
def _model(model: FrozenModel) -> Mapping[str, Any]:
    tokenizer = model.tokenizer
    said = [tokenizer.chat_template, sorted(tokenizer.get_vocab().items()), model.bos, model.eos]
    return {
        "fingerprint": model.fingerprint,
        "precision": model.precision,
        "device": model.device.type,
        "window": model.shape.window,
        "tokenizer": _hashed(repr(said)),
    }


def _source(way: Way) -> str | None:
    """Names the code of somebody's own way: changed, it is another way. Ours has softprompt's version."""
    if type(way).__module__.startswith(OURS):
        return None
    file = inspect.getsourcefile(type(way))
    return None if file is None else _hashed(Path(file).read_text(encoding="utf-8"))


def _libraries() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
