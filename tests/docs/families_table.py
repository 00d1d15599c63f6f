"""Generate docs/families.md by trying every combination: `python -m tests.docs.families_table` writes the page."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from softprompt.data import Example
from softprompt.errors import SoftPromptError
from softprompt.hf_model import SoftPromptModel
from softprompt.model import FrozenModel, Placement
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, ExtractiveQATask, GenerationTask, Task, TokenClassificationTask
from softprompt.tasks.chat_task import ChatTask
from tests.strategies import options
from tests.tiny import ALL_FAMILIES, WITH_BOS, shared_model, template_for

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
HEADING = """# What each family supports

Determined by running a tiny random model of each family; a test compares. A dash means that the combination is refused
with a reason. Cells with placements list the supported [placements of the virtual tokens](model.md#payloads); `after-bos`
needs a tokenizer that puts a BOS (or CLS) in front of every text. Chat needs a tokenizer with a chat template. The last
columns show which prompts peft can read, and whether transformers' `Trainer` can train a prompt
([wrapper.md](wrapper.md)). [model.md](model.md#families) lists the maximum sequence lengths.

| family | kind | `prompt`, `residual`, `p-tuning`, `multitask` | `context` | `prefix`, `p-tuning-v2` | labels by verbalizer | labels by linear head | token classification | extraction | generation | chat | peft reads prompts | peft reads prefixes | `Trainer` |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501
LABELS = ("good", "bad")
#: A record with the fields of every task.
ROW = {
    "text": "fun",
    "label": "good",
    "output": "yes",
    "tokens": ["great", "fun"],
    "tags": ["good", "bad"],
    "question": "was it",
    "context": "great fun",
    "answer": "fun",
    "messages": [{"role": "user", "content": "fun"}, {"role": "assistant", "content": "yes"}],
}
CHAT = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"  # noqa: E501


def table() -> str:
    """Build the whole page."""
    return HEADING + "".join(f"| {' | '.join(_line(family))} |\n" for family in ALL_FAMILIES)


def _line(family: str) -> list[str]:
    model = shared_model(family)
    return [
        family,
        str(model.shape.kind),
        _places(model, family, ("prompt", "residual", "p-tuning", "multitask")),
        _places(model, family, ("context",)),
        _places(model, family, ("prefix", "p-tuning-v2")),
        *map(_yes, _tasks(model, family)),
        _yes(_peft_reads(model, "prompt")),
        _yes(_peft_reads(model, "prefix")),
        _yes(_trains(model)),
    ]


def _tasks(model: FrozenModel, family: str) -> list[bool]:
    """Return whether each task works, in the page's order."""
    words, text = ClassificationTask(labels=LABELS, template=template_for(family)), GenerationTask(template="{text}")
    by_head = PromptOptions("prefix", 3, head="linear")
    return [
        _works(model, words, PromptOptions("prompt", 3)),
        _works(model, words, by_head),
        _works(model, TokenClassificationTask(labels=LABELS), by_head),
        _works(model, ExtractiveQATask(), by_head),
        _works(model, text, PromptOptions("prompt", 3)),
        _works(_with_chat_template(model), ChatTask(), PromptOptions("prompt", 3)),
    ]


def _with_chat_template(model: FrozenModel) -> FrozenModel:
    """Return a copy of the model with a chat template; its tokenizer is a copy, since families share tokenizers."""
    other = copy.copy(model)
    other.prompt_tokenizer = model.prompt_tokenizer.clone()
    other.tokenizer.chat_template = CHAT
    return other


def _places(model: FrozenModel, family: str, methods: tuple[str, ...]) -> str:
    supported = [place for place in Placement if all(_stands(model, family, method, place) for method in methods)]
    return ", ".join(supported) or "–"


def _stands(model: FrozenModel, family: str, method: str, place: Placement) -> bool:
    if family not in WITH_BOS and place is Placement.AFTER_BOS:  # depends on the tokenizer, not on the family
        others = {other: shared_model(other) for other in WITH_BOS}
        kin = [other for other in others if others[other].shape.kind == model.shape.kind]
        return any(_stands(others[other], other, method, place) for other in kin)
    marked = "[P1-3] " if place is Placement.IN_TEMPLATE else ""
    task = ClassificationTask(labels=LABELS, template=marked + template_for(family))
    return _works(model, task, options(method, 3, placement=place))


@torch.no_grad()
def _works(model: FrozenModel, task: Task, options: PromptOptions) -> bool:
    """Return whether an example can be encoded and has a finite loss."""
    try:
        prompt, _ = build_prompt(options, model, "a film", task.labels)
        payload = model.compile_payload(prompt())
        objective = task.build_objective(model, model.shape.window - payload.num_positions, prompt.head)
        batch = objective.collate([objective.encode_example(Example(ROW))], payload)
        return bool(objective.compute_losses(objective.forward_batch(batch, payload), batch).isfinite().all())
    except SoftPromptError:
        return False


def _peft_reads(model: FrozenModel, method: str) -> bool:
    prompt, _ = build_prompt(PromptOptions(method, 3), model, "a film")
    saved = SavedPrompt.from_payload(model, prompt(), GenerationTask(), method={"name": method}, trained_parameters=1)
    return saved.peft_incompatibility is None


def _trains(model: FrozenModel) -> bool:
    """Return whether a batch of `Trainer` gives gradients to prompts of both payloads."""
    return all(_gives_gradients(model, PromptOptions(method, 3)) for method in ("prompt", "prefix"))


def _gives_gradients(model: FrozenModel, options: PromptOptions) -> bool:
    ids = torch.tensor([[5, 6, 7]])
    try:
        wrapped = SoftPromptModel.from_model(model, options)
        wrapped(ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
    except SoftPromptError:
        return False
    gradients = [parameter.grad for parameter in wrapped.parameters()]
    return all(each is not None and bool(each.isfinite().all()) and bool(each.any()) for each in gradients)


def _yes(works: bool) -> str:
    return "yes" if works else "–"


if __name__ == "__main__":
    PAGE.write_text(table(), encoding="utf-8")
