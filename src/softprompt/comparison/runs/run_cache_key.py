"""Builds the cache key of a method's runs: a run with another key is repeated.

The keys inside a cache key are hashed, so renaming one of them repeats all runs.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from softprompt import __version__
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.methods.adaptation_method import AdaptationMethod
from softprompt.model import FrozenModel

LIBRARIES = ("torch", "transformers", "peft")
PACKAGE_PREFIX = "softprompt."


def build_cache_key(experiment: Experiment, method: AdaptationMethod, steps: int) -> dict[str, Any]:
    """Return everything that a method's results depend on. The key of an API method does not contain the base model."""
    key = {
        "softprompt": __version__,
        "task": experiment.task.model_dump(mode="json"),
        "data": get_split_digests(experiment),
        "read_as": [dict(experiment.settings.map), experiment.training.mapping.format.name],
        "way": _hash_method_source(method),
        **method.get_cache_key_settings(experiment),
    }
    if method.is_local:
        key |= {
            "model": _describe_model(experiment.model),
            "neutral": list(experiment.reference_texts),
            "libraries": _get_library_versions(),
        }
    return {**key, "steps": steps} if method.is_trained else key


def get_data_digests(experiment: Experiment) -> dict[str, tuple[str, int]]:
    """Return the digests of `get_split_digests`, and that of the text in front of the inputs, if there is one."""
    digests = get_split_digests(experiment)
    return digests if experiment.text_digest is None else {**digests, "text": (experiment.text_digest, 1)}


def get_split_digests(experiment: Experiment) -> dict[str, tuple[str, int]]:
    """Return the digest and the number of examples of each split."""
    splits = {"training": experiment.training, "validation": experiment.validation, "test": experiment.test}
    splits |= {} if experiment.out_of_domain is None else {"out of domain": experiment.out_of_domain}
    return {name: (examples.digest, len(examples)) for name, examples in splits.items()}


@lru_cache(maxsize=1)  # sorting a vocabulary of 100,000 tokens takes time
def _describe_model(model: FrozenModel) -> Mapping[str, Any]:
    tokenizer = model.tokenizer
    tokenizer_state = [
        tokenizer.chat_template,
        sorted(tokenizer.get_vocab().items()),
        model.prompt_tokenizer.bos_token_id,
        model.eos_token_id,
    ]
    return {
        "fingerprint": model.fingerprint,
        "precision": model.precision,
        "device": model.device.type,
        "window": model.shape.window,
        "tokenizer": _hash_text(repr(tokenizer_state)),
    }


def _hash_method_source(method: AdaptationMethod) -> str | None:
    """Return the hash of a custom method's source file; None for built-in methods, which have softprompt's version."""
    if type(method).__module__.startswith(PACKAGE_PREFIX):
        return None
    file = inspect.getsourcefile(type(method))
    return None if file is None else _hash_text(Path(file).read_text(encoding="utf-8"))


def _get_library_versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
