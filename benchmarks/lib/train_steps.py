"""The compared training steps: softprompt's and peft's.

peft's are those of its tutorials: all sequences padded, the model's own loss over the whole vocabulary. Ours is
`PromptTrainable.accumulate_gradients` plus the optimizer's update, in training's own order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

from benchmarks.lib.step_timer import Step
from softprompt.data import Example
from softprompt.model import CausalModel, FrozenModel
from softprompt.model.sqlite_tensor_store import SQLiteTensorStore
from softprompt.prompts import PromptOptions, build_prompt
from softprompt.tasks import ClassificationTask, EncodedExample, Objective, ResponseTarget
from softprompt.training.batch_sampler import BatchSampler
from softprompt.training.gradient_accumulation import PromptBatch, accumulate_gradients
from softprompt.training.joint_trainer import MAX_SEQUENCES_ACCELERATOR, MAX_SEQUENCES_CPU
from softprompt.training.micro_batches import MicroBatchLimit
from softprompt.training.optimizer import ScheduledOptimizer
from softprompt.training.prompt_trainable import PromptTrainable

P = 16
TEMPLATE = "Review: {text}\nSentiment:"
PADDED_LENGTH = 128  # the tutorials' length for padding and truncation
NUM_JOINT_PROMPTS = 8


class ReviewClassification:
    """Classification of reviews, on one model and on views of it with a hidden-state cache.

    Attributes:
        rows: encoded examples, truncated as in the tutorials.
        rows_with_responses: the same with their labels' words appended, for peft.
    """

    def __init__(self, model: FrozenModel, examples: Sequence[Example], folder: Path):
        self.model, self.folder = model, folder
        self.task = ClassificationTask(template=TEMPLATE).prepare(examples)
        words = [model.prompt_tokenizer.tokenize(f" {label}") for label in self.task.labels]
        self._max_length = min(model.shape.window - P, PADDED_LENGTH - max(map(len, words)))
        objective = self.task.build_objective(model, self._max_length)
        self.rows = [objective.encode_example(example) for example in examples]
        self.rows_with_responses = [
            replace(row, supervision=ResponseTarget.from_tokens(words[row.label_index])) for row in self.rows
        ]
        self._top_layer_models: dict[int, FrozenModel] = {}

    def make_step(
        self, method: str, seeds: Sequence[int] = (0,), layers: int | None = None, rows_per_step: int = 16
    ) -> Step:
        """Make our step of several prompts, one per seed; for top layers with a full hidden-state cache."""
        if layers is not None and layers not in self._top_layer_models:
            self._top_layer_models[layers] = cache_hidden_states(self.model, self.rows, layers, self.folder)
        objective = self.task.build_objective(
            self.model if layers is None else self._top_layer_models[layers], self._max_length
        )
        return make_own_step(objective, self.rows, method, seeds, layers, rows_per_step)


def make_all_steps(reviews: ReviewClassification) -> dict[str, Step]:
    """Make all compared steps."""
    L = reviews.model.shape.num_layers
    steps = {f"prefix, softprompt, top {k} layers": reviews.make_step("prefix", layers=k) for k in (L // 2, L // 4)}
    steps[f"{NUM_JOINT_PROMPTS} prefixes together, top half"] = reviews.make_step(
        "prefix", range(NUM_JOINT_PROMPTS), L // 2
    )
    for method in ("prefix", "prompt"):
        for size, width, how in (
            (4, PADDED_LENGTH, f"4 padded to {PADDED_LENGTH}"),
            (16, 0, "16 padded to the longest"),
        ):
            steps[f"{method}, peft, {how}"] = make_peft_step(
                reviews.model, reviews.rows_with_responses, method, size, width
            )
        steps[f"{method}, softprompt"] = reviews.make_step(method)
    return steps


def compute_speed_ratios(speeds: dict[str, float], num_layers: int) -> dict[str, float]:
    """Compute the ratios between the speeds of `make_all_steps`."""
    found = {
        f"{method}_vs_{key}": speeds[f"{method}, softprompt"] / speeds[f"{method}, peft, {name}"]
        for method in ("prefix", "prompt")
        for key, name in (
            (f"padded{PADDED_LENGTH}", f"4 padded to {PADDED_LENGTH}"),
            ("longest", "16 padded to the longest"),
        )
    }
    whole, half, quarter = (
        f"prefix, softprompt{top}" for top in ("", *(f", top {num_layers // n} layers" for n in (2, 4)))
    )
    found |= {
        "trunk_half": speeds[half] / speeds[whole],
        "trunk_quarter": speeds[quarter] / speeds[whole],
        f"together_{NUM_JOINT_PROMPTS}": speeds[whole] / speeds[f"{NUM_JOINT_PROMPTS} prefixes together, top half"],
    }
    return {name: round(ratio, 2) for name, ratio in found.items()}


def count_operations_per_token(model: FrozenModel) -> int:
    """Return 4N: forward pass, and gradient of the hidden states without weights; N counts the layers' weights."""
    return 4 * sum(p.numel() for layer in model.family.get_layers(model.network) for p in layer.parameters())


def make_own_step(
    objective: Objective,
    rows: Sequence[EncodedExample],
    method: str,
    seeds: Sequence[int] = (0,),
    layers: int | None = None,
    rows_per_step: int = 16,
) -> Step:
    """Make a step of several prompts, one per seed, each with its own examples."""
    model = objective.model
    prompts = [
        build_prompt(PromptOptions(method, P, layers=layers, seed=seed), model, "Read.", ())[0] for seed in seeds
    ]
    optimizers = [
        ScheduledOptimizer(PromptTrainable(each), 1e-3, 10_000, warmup_ratio=0.1, weight_decay=0.0, max_grad_norm=1.0)
        for each in prompts
    ]
    orders = [BatchSampler([len(row) for row in rows], rows_per_step, seed) for seed in seeds]
    steps = iter(range(10_000))
    limit = MicroBatchLimit(MAX_SEQUENCES_CPU if model.device.type == "cpu" else MAX_SEQUENCES_ACCELERATOR)

    def run_step() -> int:
        number = next(steps)
        chosen = [[rows[i] for i in order.get_batch(number)] for order in orders]
        parts = [
            PromptBatch(prompt, objective, each, rows_per_step) for prompt, each in zip(prompts, chosen, strict=True)
        ]
        losses = accumulate_gradients(parts, limit)
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.apply_gradients(number, loss.total_loss)
        return sum(loss.useful_tokens for loss in losses)

    return run_step


def cache_hidden_states(model: FrozenModel, rows: Sequence[EncodedExample], layers: int, folder: Path) -> FrozenModel:
    """Return the model after one epoch: the hidden states below the top layers are cached."""
    assert isinstance(model, CausalModel)
    own = model.with_hidden_state_cache(SQLiteTensorStore(folder / f"{layers}.sqlite"))
    prompt, _ = build_prompt(PromptOptions("prefix", P, layers=layers), model, "Read.", ())
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.prompt_ids], device=model.device)
            own.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), prompt())
    return own


def make_peft_step(
    model: FrozenModel, rows: Sequence[EncodedExample], method: str, batch_size: int, pad_to: int = 0
) -> Step:
    """Make a step of peft on sequences with a response, padded to a length, or to the longest of the batch for 0."""
    config = PrefixTuningConfig if method == "prefix" else PromptTuningConfig
    # The network is not copied: peft only freezes it, and it is frozen already.
    wrapped = get_peft_model(model.network, config(task_type="CAUSAL_LM", num_virtual_tokens=P))
    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=1e-3)
    batches = iterate_batches(rows, batch_size)

    def run_step() -> int:
        batch = next(batches)
        texts = [[*row.prompt_ids, *row.response_ids] for row in batch]
        longest = pad_to or max(map(len, texts))
        ids = torch.tensor([text + [model.eos_token_id] * (longest - len(text)) for text in texts])
        mask = torch.arange(longest) < torch.tensor([[len(text)] for text in texts])
        labels = torch.where(torch.arange(longest) >= torch.tensor([[len(row.prompt_ids)] for row in batch]), ids, -100)
        labels = labels.masked_fill(~mask, -100)
        ids, mask, labels = (each.to(model.device) for each in (ids, mask.long(), labels))
        wrapped(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return sum(len(row.prompt_ids) for row in batch)

    return run_step


def iterate_batches(rows: Sequence[EncodedExample], batch_size: int) -> Iterator[list[EncodedExample]]:
    """Yield batches of endless epochs, each in its own order."""
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield [rows[i] for i in order[start : start + batch_size]]
