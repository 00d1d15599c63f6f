"""The ways to train that are timed and weighed: softprompt's and peft's, each as a step.

peft's is what the tutorials write: every row padded, the model's own loss over all of the vocabulary. Ours is
`PromptLearner.accumulate` plus the optimiser's update, in training's own order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

from benchmarks.timing import Step
from softprompt.data import Example
from softprompt.model import CausalModel, FrozenModel
from softprompt.model.states_file import StatesFile
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.tasks import ClassificationTask, Objective, Row
from softprompt.training.gradients import Part, PromptLearner, accumulate_gradients
from softprompt.training.optimisation import Optimiser
from softprompt.training.order import Order
from softprompt.training.passes import Limit
from softprompt.training.together import ROWS_ON_ACCELERATOR, ROWS_ON_CPU

P = 16
TEMPLATE = "Review: {text}\nSentiment:"
PADDED = 128  # to so many tokens the tutorials pad and cut
TOGETHER = 8


class Reviews:
    """A classification of reviews, in rows, on one model and on its views that remember what lies below top layers.

    Attributes:
        rows: cut to where a tutorial cuts them.
        answered: the same with their labels' words behind them, as peft is given them.
    """

    def __init__(self, model: FrozenModel, examples: Sequence[Example], folder: Path):
        self.model, self.folder = model, folder
        self.task = ClassificationTask(template=TEMPLATE).prepared(examples)
        words = [model.tokenize(f" {label}") for label in self.task.labels]
        self._room = min(model.shape.window - P, PADDED - max(map(len, words)))
        objective = self.task.bind(model, self._room)
        self.rows = [objective.encode(example) for example in examples]
        self.answered = [replace(row, response=words[row.label]) for row in self.rows]
        self._tops: dict[int, FrozenModel] = {}

    def steps(
        self, method: str, seeds: Sequence[int] = (0,), layers: int | None = None, rows_per_step: int = 16
    ) -> Step:
        """Ours, of as many prompts as there are seeds; of prefixes in the top layers from the second epoch on."""
        if layers is not None and layers not in self._tops:
            self._tops[layers] = remembering(self.model, self.rows, layers, self.folder)
        objective = self.task.bind(self.model if layers is None else self._tops[layers], self._room)
        return our_step(objective, self.rows, method, seeds, layers, rows_per_step)


def ways_of(reviews: Reviews) -> dict[str, Step]:
    """All that are timed beside one another."""
    L = reviews.model.shape.num_layers
    ways = {f"prefix, softprompt, top {k} layers": reviews.steps("prefix", layers=k) for k in (L // 2, L // 4)}
    ways[f"{TOGETHER} prefixes together, top half"] = reviews.steps("prefix", range(TOGETHER), L // 2)
    for method in ("prefix", "prompt"):
        for size, width, how in ((4, PADDED, f"4 padded to {PADDED}"), (16, 0, "16 padded to the longest")):
            ways[f"{method}, peft, {how}"] = peft_step(reviews.model, reviews.answered, method, size, width)
        ways[f"{method}, softprompt"] = reviews.steps(method)
    return ways


def ratios(speeds: dict[str, float], num_layers: int) -> dict[str, float]:
    """What the speeds of `ways_of` say about one another."""
    found = {
        f"{method}_vs_{key}": speeds[f"{method}, softprompt"] / speeds[f"{method}, peft, {way}"]
        for method in ("prefix", "prompt")
        for key, way in ((f"padded{PADDED}", f"4 padded to {PADDED}"), ("longest", "16 padded to the longest"))
    }
    whole, half, quarter = (
        f"prefix, softprompt{top}" for top in ("", *(f", top {num_layers // n} layers" for n in (2, 4)))
    )
    found |= {
        "trunk_half": speeds[half] / speeds[whole],
        "trunk_quarter": speeds[quarter] / speeds[whole],
        f"together_{TOGETHER}": speeds[whole] / speeds[f"{TOGETHER} prefixes together, top half"],
    }
    return {name: round(ratio, 2) for name, ratio in found.items()}


def operations_a_token(model: FrozenModel) -> int:
    """4N: forward, and the gradient of the states but not of the weights; N are the layers' weights."""
    return 4 * sum(p.numel() for layer in model.family.layers(model.network) for p in layer.parameters())


def our_step(
    objective: Objective,
    rows: Sequence[Row],
    method: str,
    seeds: Sequence[int] = (0,),
    layers: int | None = None,
    rows_per_step: int = 16,
) -> Step:
    """A step of as many prompts as there are seeds, each on rows of its own."""
    model = objective.model
    prompts = [
        build_prompt(PromptOptions(method, P, layers=layers, seed=seed), model, "Read.", ())[0] for seed in seeds
    ]
    optimisers = [
        Optimiser(PromptLearner(each), 1e-3, 10_000, warmup=0.1, weight_decay=0.0, clip=1.0) for each in prompts
    ]
    orders = [Order([len(row) for row in rows], rows_per_step, seed) for seed in seeds]
    steps = iter(range(10_000))
    limit = Limit(ROWS_ON_CPU if model.device.type == "cpu" else ROWS_ON_ACCELERATOR)

    def step() -> int:
        number = next(steps)
        chosen = [[rows[i] for i in order.step(number)] for order in orders]
        parts = [Part(prompt, objective, each, rows_per_step) for prompt, each in zip(prompts, chosen, strict=True)]
        found = accumulate_gradients(parts, limit)
        for optimiser, learnt in zip(optimisers, found, strict=True):
            optimiser.update(number, learnt.total_loss)
        return sum(learnt.useful_tokens for learnt in found)

    return step


def remembering(model: FrozenModel, rows: Sequence[Row], layers: int, folder: Path) -> FrozenModel:
    """The model when an epoch has been seen: what lies below the top layers is in the file."""
    assert isinstance(model, CausalModel)
    own = model.remembering(StatesFile(folder / f"{layers}.sqlite"))
    prompt, _ = build_prompt(PromptOptions("prefix", P, layers=layers), model, "Read.", ())
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.prompt], device=model.device)
            own.hidden(ids, torch.ones_like(ids, dtype=torch.bool), prompt())
    return own


def peft_step(model: FrozenModel, rows: Sequence[Row], method: str, batch_size: int, pad_to: int = 0) -> Step:
    """peft's, on rows with a response, padded to so many tokens, or if 0 to the longest of the batch."""
    config = PrefixTuningConfig if method == "prefix" else PromptTuningConfig
    # The network is not copied: peft freezes it, which it is, and otherwise leaves it as it was.
    wrapped = get_peft_model(model.network, config(task_type="CAUSAL_LM", num_virtual_tokens=P))
    optimiser = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=1e-3)
    batches = endless(rows, batch_size)

    def step() -> int:
        batch = next(batches)
        texts = [[*row.prompt, *row.response] for row in batch]
        longest = pad_to or max(map(len, texts))
        ids = torch.tensor([text + [model.eos] * (longest - len(text)) for text in texts])
        mask = torch.arange(longest) < torch.tensor([[len(text)] for text in texts])
        labels = torch.where(torch.arange(longest) >= torch.tensor([[len(row.prompt)] for row in batch]), ids, -100)
        labels = labels.masked_fill(~mask, -100)
        ids, mask, labels = (each.to(model.device) for each in (ids, mask.long(), labels))
        wrapped(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return sum(len(row.prompt) for row in batch)

    return step


def endless(rows: Sequence[Row], batch_size: int) -> Iterator[list[Row]]:
    """Batches of one epoch after the other, each in an order of its own."""
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield [rows[i] for i in order[start : start + batch_size]]
