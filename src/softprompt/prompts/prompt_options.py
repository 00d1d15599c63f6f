"""The user's choices for a new soft prompt."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.model import Placement


@dataclass(frozen=True)
class PromptOptions:
    """The user's choices for a new prompt; None means the default of the method.

    Attributes:
        method: a name in `TUNING_METHODS`.
        num_virtual_tokens: number of virtual tokens, P; with demonstrations, the largest number that they may take.
        init: `text`, `text:…`, `labels`, `vocab`, `random`, `zeros` or `prompt:FOLDER`.
        encoder: `none`, `mlp` or `lstm`, if the method supports it.
        encoder_hidden_size: hidden size of the encoder.
        placement: placement of the virtual tokens.
        freeze_sink: keep the initial keys of the first virtual token.
        layers: number of top layers in which a prefix is trained; None for all.
        head: `verbalizer` or `linear`.
        tasks: names of the tasks of a multitask prompt; empty for a single task.
        task_rank: rank of each task's matrix.
        seed: seed of all random numbers.
    """

    method: str = "prefix"
    num_virtual_tokens: int | None = None
    init: str = "text"
    encoder: str | None = None
    encoder_hidden_size: int | None = None
    placement: Placement = Placement.BEFORE
    freeze_sink: bool = False
    layers: int | None = None
    head: str | None = None
    tasks: tuple[str, ...] = ()
    task_rank: int = 1
    seed: int = 0
