"""The table of docs/families.md, found out by trying: `python -m tests.docs.families` writes it."""

from __future__ import annotations

from pathlib import Path

import torch

from softprompt.data import Example
from softprompt.errors import SoftPromptError
from softprompt.model import FrozenModel, Placement
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, GenerationTask, Task
from tests.tiny import ALL_FAMILIES, WITH_BOS, shared_model, template_for

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
HEADING = """# What each family can do

Found out by trying, on a tiny random model of each; a test compares. A dash is refused with a sentence that says why.
Where there are places, they are those of the virtual tokens ([placements](model.md#the-two-payloads)); `after-bos` asks
for a tokenizer that puts a BOS (or CLS) in front of every text. The window is how long a row may be:
[model.md](model.md#families).

| family | kind | `prompt`, `residual`, `p-tuning` | `context` | `prefix`, `p-tuning-v2` | labels by words | by a linear head | writes | peft reads prompts | peft reads prefixes |
|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501
LABELS = ("good", "bad")


def table() -> str:
    """The whole page."""
    return HEADING + "".join(f"| {' | '.join(_line(family))} |\n" for family in ALL_FAMILIES)


def _line(family: str) -> list[str]:
    model = shared_model(family)
    words, text = ClassificationTask(labels=LABELS, template=template_for(family)), GenerationTask(template="{text}")
    return [
        family,
        str(model.shape.kind),
        _places(model, family, ("prompt", "residual", "p-tuning")),
        _places(model, family, ("context",)),
        _places(model, family, ("prefix", "p-tuning-v2")),
        _yes(_works(model, words, PromptOptions("prompt", 3))),
        _yes(_works(model, words, PromptOptions("prefix", 3, head="linear"))),
        _yes(_works(model, text, PromptOptions("prompt", 3))),
        _yes(_peft_reads(model, "prompt")),
        _yes(_peft_reads(model, "prefix")),
    ]


def _places(model: FrozenModel, family: str, methods: tuple[str, ...]) -> str:
    found = [place for place in Placement if all(_stands(model, family, method, place) for method in methods)]
    return ", ".join(found) or "–"


def _stands(model: FrozenModel, family: str, method: str, place: Placement) -> bool:
    if family not in WITH_BOS and place is Placement.AFTER_BOS:  # a question of the tokenizer
        others = {other: shared_model(other) for other in WITH_BOS}
        kin = [other for other in others if others[other].shape.kind == model.shape.kind]
        return any(_stands(others[other], other, method, place) for other in kin)
    marked = "[P1-3] " if place is Placement.IN_TEMPLATE else ""
    task = ClassificationTask(labels=LABELS, template=marked + template_for(family))
    return _works(model, task, PromptOptions(method, 3, placement=place))


@torch.no_grad()
def _works(model: FrozenModel, task: Task, options: PromptOptions) -> bool:
    """Whether a row goes all the way from text to a loss."""
    try:
        prompt, _ = build_prompt(options, model, "a film", task.labels)
        payload = model.compile(prompt())
        objective = task.bind(model, model.shape.window - payload.num_positions, prompt.head)
        batch = objective.collate(
            [objective.encode(Example({"text": "fun", "label": "good", "output": "yes"}))], payload
        )
        return bool(objective.losses(objective.read(batch, payload), batch).isfinite().all())
    except SoftPromptError:
        return False


def _peft_reads(model: FrozenModel, method: str) -> bool:
    prompt, _ = build_prompt(PromptOptions(method, 3), model, "a film")
    saved = SavedPrompt.make(model, prompt(), GenerationTask(), method={"name": method}, trained_parameters=1)
    return saved.peft_refusal is None


def _yes(works: bool) -> str:
    return "yes" if works else "–"


if __name__ == "__main__":
    PAGE.write_text(table(), encoding="utf-8")
