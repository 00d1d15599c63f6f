"""Model card of a prompt on the Hub: what the prompt does and how to use it, for people and for the Hub's search.

The template is model_card.md.j2. The card depends only on the prompt and the repository's name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from softprompt.hub.base_model_source import BaseModelSource
from softprompt.model import ModelKind
from softprompt.saved import Manifest, SavedPrompt
from softprompt.saved.manifest import is_distilled
from softprompt.tasks.classification_task import ClassificationTask
from softprompt.tasks.task import COMMAND_BY_TASK_KIND
from softprompt.tasks.templates.answer_text import join_answer
from softprompt.tasks.templates.template import Template
from softprompt.tasks.templates.template_parser import MASK_MARKER
from softprompt.unicode_text import escape_controls, escape_json

TEMPLATE_FILE = Path(__file__).with_name("model_card.md.j2")

#: Names of the Hub for metrics of softprompt.
HUB_METRIC_NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "perplexity": "perplexity",
    "f1": "f1",
    "exact_match": "exact_match",
}

#: Pipeline tag of the Hub for each kind of task.
PIPELINE_TAGS = {
    "classification": "text-classification",
    "generation": "text-generation",
    "chat": "text-generation",
    "token-classification": "token-classification",
    "extraction": "question-answering",
}

#: Class of transformers that loads a base model of each kind.
AUTO_CLASS_NAMES = {
    ModelKind.CAUSAL: "AutoModelForCausalLM",
    ModelKind.MASKED: "AutoModelForMaskedLM",
    ModelKind.ENCODER_DECODER: "AutoModelForSeq2SeqLM",
}


def build_model_card(prompt: SavedPrompt, repo_id: str, base_source: BaseModelSource) -> str:
    """Build the model card, README.md, of a prompt in a repository.

    Args:
        prompt: the saved prompt, as pushed.
        repo_id: repository, `OWNER/NAME`.
        base_source: source of the base model.
    """
    context = {
        "repo_id": repo_id,
        "base_source": base_source.value,
        "code_span": format_code_span,
        "code_block": format_code_block,
        "py_literal": format_python_literal,
        **_build_context(prompt),
    }
    card_data = _build_card_data(prompt, base_source, context["metrics"])
    model_card = ModelCard.from_template(card_data, template_path=str(TEMPLATE_FILE), **context)
    return str(model_card).rstrip("\n") + "\n"


def _build_card_data(prompt: SavedPrompt, base_source: BaseModelSource, metrics: dict[str, float]) -> ModelCardData:
    """Build the front matter, without `model-index`, because the data set of the metrics has no name on the Hub."""
    manifest = prompt.manifest
    return ModelCardData(
        base_model=manifest.base.name if base_source is BaseModelSource.HUB else None,
        library_name="peft" if prompt.peft_incompatibility is None else "softprompt",
        pipeline_tag=PIPELINE_TAGS[manifest.task.kind],
        tags=["softprompt", "soft-prompt", "prefix-tuning" if manifest.payload == "prefix" else "prompt-tuning"],
        metrics=[HUB_METRIC_NAMES[name] for name in metrics if name in HUB_METRIC_NAMES] or None,
    )


def _build_context(prompt: SavedPrompt) -> dict[str, Any]:
    """Return the template variables that describe the prompt."""
    manifest = prompt.manifest
    return {
        "manifest": manifest,
        "task": manifest.task,
        "base": manifest.base,
        "method_settings": {
            name: value
            for name, value in manifest.method.items()
            if name not in ("name", "start", "source") and value is not None
        },
        "source": manifest.method.get("source") if is_distilled(manifest) else None,
        "kind": manifest.base.shape.kind.value,
        "auto_class": AUTO_CLASS_NAMES[manifest.base.shape.kind],
        "fields": Template(manifest.task.template).field_names,
        "label_words": dict(getattr(manifest.task, "words", {})),
        "num_parameters": prompt.num_parameters,
        "parameter_share": f"{100 * prompt.num_parameters / manifest.base.num_parameters:.3g}%",
        "command": COMMAND_BY_TASK_KIND[manifest.task.kind],
        "answer_field": _find_answer_field(manifest),
        "metrics": _select_metrics(manifest),
        "peft_incompatibility": prompt.peft_incompatibility,
        "has_head": prompt.head is not None,
        "head_input": _describe_head_input(manifest),
        "peft_template": _build_peft_template(manifest),
        "text_before_answer": _text_before_answer(manifest),
        "label_texts": _build_label_texts(manifest),
    }


def _describe_head_input(manifest: Manifest) -> str:
    """Describe the token whose hidden state a linear head classifies."""
    match manifest.base.shape.kind:
        case ModelKind.CAUSAL:
            return "the last token"
        case ModelKind.MASKED:
            return "the mask token" if Template(manifest.task.template).has_mask else "the first token"
        case ModelKind.ENCODER_DECODER:
            return "the first token of the decoder"


def _build_peft_template(manifest: Manifest) -> str:
    """Return the template for a tokenizer, without spaces before the mask token, which would become a token."""
    return re.sub(f" *{re.escape(MASK_MARKER)}", MASK_MARKER, manifest.task.template)


def _text_before_answer(manifest: Manifest) -> str:
    """Return the text that the answer continues; empty for a decoder, which begins with the answer."""
    if manifest.base.shape.kind is ModelKind.ENCODER_DECODER:
        return ""
    return Template(manifest.task.template).text_before_answer.rstrip(" ")


def _build_label_texts(manifest: Manifest) -> dict[str, str]:
    """Return the text that stands for each label, with its leading space; empty for other tasks."""
    task = manifest.task
    if not isinstance(task, ClassificationTask):
        return {}
    texts = {label: join_answer(Template(task.template), task.words.get(label, label)) for label in task.labels}
    if manifest.base.shape.kind is ModelKind.ENCODER_DECODER:
        return {label: text.lstrip(" ") for label, text in texts.items()}
    return texts


def _find_answer_field(manifest: Manifest) -> str:
    """Return the field of a record with the correct answer; empty for tasks whose records have a fixed format."""
    fields = ("label_field", "response_field", "tags_field")
    return next((str(getattr(manifest.task, name)) for name in fields if hasattr(manifest.task, name)), "")


def _select_metrics(manifest: Manifest) -> dict[str, float]:
    """Select the validation metrics of a manifest, which may be untrusted, so only numbers are taken."""
    validation = manifest.metrics.get("validation")
    metrics = validation if isinstance(validation, dict) else {}
    return {str(name): value for name, value in metrics.items() if isinstance(value, int | float)}


def format_code_span(text: object) -> str:
    """Format any text as inline code. Line breaks and control characters are escaped."""
    plain = escape_controls(str(text), keep="")
    fence = "`" * (_longest_backtick_run(plain) + 1)
    padding = " " if "`" in plain or not plain.strip() else ""
    return f"{fence}{padding}{plain}{padding}{fence}"


def format_code_block(text: str, language: str = "text") -> str:
    """Format any text as a code block, verbatim except that control characters are escaped."""
    fence = "`" * max(3, _longest_backtick_run(text) + 1)
    return f"{fence}{language}\n{escape_controls(text)}\n{fence}"


def format_python_literal(value: str | dict[str, str]) -> str:
    """Format a text, or texts by name, as a Python literal with double quotes."""
    return escape_json(json.dumps(value, ensure_ascii=False))


def _longest_backtick_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
