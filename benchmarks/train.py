"""How fast does it train? Useful tokens a second, beside peft in the same run.

    python -m benchmarks.train --data movie_reviews.train.jsonl

A useful token is a token of the text: neither padding nor virtual. peft trains as the tutorials do (batches of 4,
every row padded to 128 tokens, loss over all of the vocabulary) and as a careful user would (the same, padded to
the longest row of the batch, batches of 16). Ours is `PromptLearner.accumulate` plus the optimiser's update, on batches
of 16 in training's own order; prefixes in the top layers alone are timed from the second epoch on, when what lies below
is remembered. Eight prompts on the top half train together, beside eight steps of one on all layers. The ways take
turns, so that a machine that slows down slows down for all; the median of the rounds counts. Prints a table, then one
JSON line with the ratios.

`matrix_rate_share` is the share of this machine's rate at large float32 products that our prefix reaches, at the 4N
operations a useful token needs (forward, and the gradient of the states but not of the weights); N are the layers'
weights, since of the vocabulary a classification computes two words.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from rich.console import Console
from rich.table import Table

import softprompt
from softprompt.data import Example, read_examples
from softprompt.model import CausalModel, FrozenModel, Prefix
from softprompt.model.states_file import StatesFile
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.tasks import ClassificationTask, Row
from softprompt.training.gradients import Part, PromptLearner, accumulate_gradients
from softprompt.training.optimisation import Optimiser
from softprompt.training.order import Order
from softprompt.training.passes import Limit
from softprompt.training.together import ROWS_ON_CPU

P = 16
TEMPLATE = "Review: {text}\nSentiment:"
Step = Callable[[], int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    model = softprompt.load_model(arguments.model)
    examples = read_examples(arguments.data)[:500]
    with tempfile.TemporaryDirectory() as folder:
        speeds = measure(ways_of(model, examples, Path(folder)), arguments.rounds)
    layers = sum(p.numel() for layer in model.family.layers(model.network) for p in layer.parameters())
    share = speeds["prefix, softprompt"] * 4 * layers / matrix_rate()
    report(speeds, share, model.shape.num_layers, arguments.rounds)


def ways_of(model: FrozenModel, examples: Sequence[Example], folder: Path) -> dict[str, Step]:
    task = ClassificationTask(template=TEMPLATE).prepared(examples)
    objective = task.bind(model, model.shape.window - P)
    rows = [objective.encode(example) for example in examples]
    words = [model.tokenize(f" {label}") for label in task.labels]
    L = model.shape.num_layers
    top = {k: remembering(model, rows, k, folder) for k in (L // 2, L // 4)}
    ways = {f"prefix, softprompt, top {k} layers": our_step(own, ["prefix"], task, rows, k) for k, own in top.items()}
    ways["8 prefixes together, top half"] = our_step(top[L // 2], ["prefix"] * 8, task, rows, L // 2)
    for method in ("prefix", "prompt"):
        for size, width, how in ((4, 128, "4 padded to 128"), (16, 0, "16 padded to the longest")):
            ways[f"{method}, peft, {how}"] = peft_step(model, method, rows, words, batch_size=size, pad_to=width)
        ways[f"{method}, softprompt"] = our_step(model, [method], task, rows)
    return ways


def our_step(
    model: FrozenModel, methods: list[str], task: ClassificationTask, rows: list[Row], layers: int | None = None
) -> Step:
    objective = task.bind(model, model.shape.window - P)
    built = [
        build_prompt(PromptOptions(m, P, layers=layers, seed=i), model, "Read.", ()) for i, m in enumerate(methods)
    ]
    prompts = [prompt for prompt, _ in built]
    optimisers = [
        Optimiser(PromptLearner(each), 1e-3, 10_000, warmup=0.1, weight_decay=0.0, clip=1.0) for each in prompts
    ]
    orders = [Order([len(row) for row in rows], 16, seed) for seed in range(len(prompts))]
    steps = iter(range(10_000))

    def step() -> int:
        number = next(steps)
        chosen = [[rows[i] for i in order.step(number)] for order in orders]
        parts = [Part(prompt, objective, each, 16) for prompt, each in zip(prompts, chosen, strict=True)]
        found = accumulate_gradients(parts, Limit(ROWS_ON_CPU))
        for optimiser in optimisers:
            optimiser.update(number)
        return sum(learnt.useful_tokens for learnt in found)

    return step


def remembering(model: FrozenModel, rows: list[Row], layers: int, folder: Path) -> FrozenModel:
    """The model when an epoch has been seen: what lies below the top layers is in the file."""
    assert isinstance(model, CausalModel)
    own = model.remembering(StatesFile(folder / f"{layers}.sqlite"))
    first = model.shape.num_layers - layers
    nothing = Prefix(torch.zeros(model.shape.prefix(1))[first:], first_layer=first)
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.prompt])
            own.hidden(ids, torch.ones_like(ids, dtype=torch.bool), nothing)
    return own


def matrix_rate(size: int = 1536, seconds: float = 2.0) -> float:
    """Operations a second in products of large float32 matrices: what this machine can do."""
    one, other = torch.randn(size, size), torch.randn(size, size)
    one @ other
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        one @ other
        done += 1
    return 2 * size**3 * done / (time.perf_counter() - started)


def peft_step(
    model: FrozenModel, method: str, rows: list[Row], words: list[list[int]], batch_size: int, pad_to: int
) -> Step:
    config = PrefixTuningConfig if method == "prefix" else PromptTuningConfig
    wrapped = get_peft_model(copy.deepcopy(model.network), config(task_type="CAUSAL_LM", num_virtual_tokens=P))
    optimiser = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=1e-3)
    batches = endless(rows, batch_size)

    def step() -> int:
        batch = next(batches)
        texts = [[*row.prompt, *words[row.label]] for row in batch]
        longest = pad_to or max(map(len, texts))
        ids = torch.tensor([text + [model.eos] * (longest - len(text)) for text in texts])
        mask = torch.arange(longest) < torch.tensor([[len(text)] for text in texts])
        labels = torch.where(torch.arange(longest) >= torch.tensor([[len(row.prompt)] for row in batch]), ids, -100)
        wrapped(input_ids=ids, attention_mask=mask.long(), labels=labels.masked_fill(~mask, -100)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return sum(len(row.prompt) for row in batch)

    return step


def endless(rows: list[Row], batch_size: int) -> Iterator[list[Row]]:
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield [rows[i] for i in order[start : start + batch_size]]


def measure(ways: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median useful tokens a second of each way; the first round warms up and does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, step in ways.items():
            started = time.perf_counter()
            tokens = step()
            found[name].append(tokens / (time.perf_counter() - started))
    return {name: statistics.median(speeds[1:]) for name, speeds in found.items()}


def report(speeds: dict[str, float], share: float, num_layers: int, rounds: int) -> None:
    table = Table("way", "useful tokens/s", title=f"training, median of {rounds} steps")
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:.0f}")
    Console().print(table)
    ratios = {
        f"{method}_vs_{key}": round(speeds[f"{method}, softprompt"] / speeds[f"{method}, peft, {way}"], 2)
        for method in ("prefix", "prompt")
        for key, way in (("padded128", "4 padded to 128"), ("longest", "16 padded to the longest"))
    }
    whole, half, quarter = (
        f"prefix, softprompt{top}" for top in ("", *(f", top {num_layers // n} layers" for n in (2, 4)))
    )
    ratios |= {
        "trunk_half": round(speeds[half] / speeds[whole], 2),
        "trunk_quarter": round(speeds[quarter] / speeds[whole], 2),
        "together_8": round(speeds[whole] / speeds["8 prefixes together, top half"], 2),
        "matrix_rate_share": round(share, 2),
    }
    print(json.dumps({**ratios, "useful_tokens_per_second": {name: round(s, 1) for name, s in speeds.items()}}))


if __name__ == "__main__":
    main()
