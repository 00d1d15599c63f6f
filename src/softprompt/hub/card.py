"""The card of a prompt on the Hub: what it does and how to use it, for people and for the Hub's search.

The words are in card.md. The same prompt under the same name has the same card.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from softprompt.hub.origin import Origin
from softprompt.model import Kind
from softprompt.saved import Manifest, SavedPrompt
from softprompt.tasks.classification import ClassificationTask
from softprompt.tasks.pieces import BLANK
from softprompt.tasks.task import ASKED_WITH
from softprompt.tasks.template import Template, joined
from softprompt.unicode_text import escape_controls, escape_json

WORDS = Path(__file__).with_name("card.md")

#: Our figures that the Hub has a name for.
METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "perplexity": "perplexity",
    "f1": "f1",
    "exact_match": "exact_match",
}

#: The Hub's word for each kind of task.
PIPELINES = {
    "classification": "text-classification",
    "generation": "text-generation",
    "chat": "text-generation",
    "token-classification": "token-classification",
    "extraction": "question-answering",
}

#: The class of transformers that loads a base model of each kind.
AUTO_CLASSES = {
    Kind.CAUSAL: "AutoModelForCausalLM",
    Kind.MASKED: "AutoModelForMaskedLM",
    Kind.ENCODER_DECODER: "AutoModelForSeq2SeqLM",
}


def card(saved: SavedPrompt, repository: str, base: Origin) -> str:
    """The README.md of a prompt in a repository.

    Args:
        saved: the prompt as it is sent.
        repository: `OWNER/NAME`.
        base: what the base model's name is the name of.
    """
    facts = _facts(saved)
    words = {"repository": repository, "origin": base.value, "span": span, "block": block, "literal": literal, **facts}
    made = ModelCard.from_template(_data(saved, base, facts["figures"]), template_path=str(WORDS), **words)
    return str(made).rstrip("\n") + "\n"


def _data(saved: SavedPrompt, base: Origin, figures: dict[str, float]) -> ModelCardData:
    """The front matter. The data behind the figures has no name on the Hub, so there is no `model-index`."""
    manifest = saved.manifest
    return ModelCardData(
        base_model=manifest.base.name if base is Origin.HUB else None,
        library_name="peft" if saved.peft_refusal is None else "softprompt",
        pipeline_tag=PIPELINES[manifest.task.kind],
        tags=["softprompt", "soft-prompt", "prefix-tuning" if manifest.payload == "prefix" else "prompt-tuning"],
        metrics=[METRICS[name] for name in figures if name in METRICS] or None,
    )


def _facts(saved: SavedPrompt) -> dict[str, Any]:
    manifest = saved.manifest
    return {
        "manifest": manifest,
        "task": manifest.task,
        "base": manifest.base,
        "settings": {n: v for n, v in manifest.method.items() if n not in ("name", "start") and v is not None},
        "kind": manifest.base.shape.kind.value,
        "auto_class": AUTO_CLASSES[manifest.base.shape.kind],
        "fields": Template(manifest.task.template).fields,
        "words": dict(getattr(manifest.task, "words", {})),
        "parameters": saved.num_parameters,
        "share": f"{100 * saved.num_parameters / manifest.base.num_parameters:.3g}%",
        "command": ASKED_WITH[manifest.task.kind],
        "answer_field": _answer_field(manifest),
        "figures": _figures(manifest),
        "refusal": saved.peft_refusal,
        "has_head": saved.head is not None,
        "head_reads": _head_reads(manifest),
        "row": _row(manifest),
        "behind": _behind(manifest),
        "answers": _answers(manifest),
    }


def _head_reads(manifest: Manifest) -> str:
    """What a linear head reads a label off: the token that stands for the row."""
    match manifest.base.shape.kind:
        case Kind.CAUSAL:
            return "the last token"
        case Kind.MASKED:
            return "the blank" if Template(manifest.task.template).has_blank else "the first token"
        case Kind.ENCODER_DECODER:
            return "what the decoder begins with"


def _row(manifest: Manifest) -> str:
    """The template as a tokenizer is given it: without spaces in front of the blank, which would be a token there."""
    return re.sub(f" *{re.escape(BLANK)}", BLANK, manifest.task.template)


def _behind(manifest: Manifest) -> str:
    """The text that an answer's tokens continue; none in a decoder, which begins with the answer."""
    if manifest.base.shape.kind is Kind.ENCODER_DECODER:
        return ""
    return Template(manifest.task.template).tail.rstrip(" ")


def _answers(manifest: Manifest) -> dict[str, str]:
    """What the model says for each label where it is read, space in front included; empty for other tasks."""
    task = manifest.task
    if not isinstance(task, ClassificationTask):
        return {}
    said = {label: joined(Template(task.template), task.words.get(label, label)) for label in task.labels}
    if manifest.base.shape.kind is Kind.ENCODER_DECODER:
        return {label: answer.lstrip(" ") for label, answer in said.items()}
    return said


def _answer_field(manifest: Manifest) -> str:
    """The field of a row that says what is right; none where the rows have a form of their own."""
    fields = ("label_field", "response_field", "tags_field")
    return next((str(getattr(manifest.task, name)) for name in fields if hasattr(manifest.task, name)), "")


def _figures(manifest: Manifest) -> dict[str, float]:
    """What the prompt was accepted with; a manifest may come from anybody, so only numbers count."""
    found = manifest.metrics.get("validation")
    numbers = found if isinstance(found, dict) else {}
    return {str(name): value for name, value in numbers.items() if isinstance(value, int | float)}


def span(text: object) -> str:
    """Text as code within a line, whatever is in it; a line's end and control characters are written as escapes."""
    plain = escape_controls(str(text), keep="")
    fence = "`" * (_longest_run(plain) + 1)
    padding = " " if "`" in plain or not plain.strip() else ""
    return f"{fence}{padding}{plain}{padding}{fence}"


def block(text: str, language: str = "text") -> str:
    """Text as a block of code, whatever is in it; verbatim but for control characters, which are written as escapes."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{escape_controls(text)}\n{fence}"


def literal(value: str | dict[str, str]) -> str:
    """A text, or texts by name, as Python writes them, in double quotes."""
    return escape_json(json.dumps(value, ensure_ascii=False))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
