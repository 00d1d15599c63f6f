"""What a server is made of, and what `model` in a request means to it."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, cast

from fastapi import Depends, Request
from transformers import PreTrainedTokenizerFast

from softprompt.engine.grammar import Grammars
from softprompt.engine.grammar_checker import GrammarChecker
from softprompt.model import FrozenModel
from softprompt.server.answer_building import AnswerBuilder
from softprompt.server.backend import Backend, Opening
from softprompt.server.desk import Desk
from softprompt.server.embedded import Embedded
from softprompt.server.grammar_compiler import GrammarCompiler
from softprompt.server.logprobs import Words
from softprompt.server.loop_turns import LoopTurns
from softprompt.server.metrics import Metrics
from softprompt.server.settings import ServerSettings
from softprompt.server.shelf import Shelf
from softprompt.server.shelved import Shelved
from softprompt.server.tally import Tally
from softprompt.store import Store, Version


@dataclass(frozen=True)
class Chosen:
    """What a request's `model` means.

    Attributes:
        name: what it is called in answers: a version, or the base model.
        shelved: the prompt, ready to be used; None for the bare base.
    """

    name: str
    shelved: Shelved | None


@dataclass(frozen=True)
class Parts:
    """All of a server but its application.

    Attributes:
        name: what the base model is called.
        length: positions that a row may have.
        started: when, in seconds since 1970.
    """

    settings: ServerSettings
    name: str
    model: FrozenModel
    store: Store
    backend: Backend
    shelf: Shelf
    desk: Desk
    words: Words
    builder: AnswerBuilder
    grammars: GrammarCompiler
    metrics: Metrics
    tally: Tally
    turns: LoopTurns
    started: int

    @classmethod
    def of(cls, settings: ServerSettings, model: FrozenModel, store: Store, opening: Opening = Embedded.of) -> Parts:
        """A server of a model and a store.

        Args:
            settings: what the operator chose.
            model: what runs, or stands for what runs elsewhere.
            store: where the prompts are.
            opening: makes what answers: the engine in this process, unless another is said.

        Raises:
            ModelNotSupported: the engine cannot run the model.
        """
        metrics = Metrics()
        backend = opening(settings, model, metrics)
        tokenizer = copy.deepcopy(model.tokenizer)  # which nobody changes, unlike the worker's and the desk's
        fast, checker = cast(PreTrainedTokenizerFast, tokenizer), GrammarChecker()
        grammars = Grammars(fast, model.shape.vocab_size, model.eos_token_ids, checker)
        return cls(
            settings=settings,
            name=PurePath(model.name).name if model.name.startswith(("/", ".")) else model.name,
            model=model,
            store=store,
            backend=backend,
            shelf=Shelf(store, model, backend, settings.prompt_memory, metrics),
            desk=Desk(model, min(settings.length, model.shape.window)),
            words=Words(tokenizer),
            builder=AnswerBuilder(),
            grammars=GrammarCompiler(grammars),
            metrics=metrics,
            tally=Tally(),
            turns=LoopTurns(),
            started=int(time.time()),
        )

    @property
    def length(self) -> int:
        """Positions that a row may have."""
        return self.backend.length

    @property
    def fingerprint(self) -> str:
        """Names the base model's weights, as OpenAI's API names what answered."""
        return "fp_" + (self.model.fingerprint.removeprefix("sha256:") or "unknown")

    async def resolve(self, name: str, tenant: str) -> Version | None:
        """The version that a tenant means by `name`; None for the bare base.

        Raises:
            Refusal: there is none.
        """
        return None if name == self.name else await self.shelf.resolve(name, tenant)

    async def choose(self, name: str, tenant: str) -> Chosen:
        """What a tenant means by `name`, ready to be used: the request ends on it, whatever the name means later.

        Raises:
            Refusal: there is none, or it cannot be used.
        """
        version = await self.resolve(name, tenant)
        if version is None:
            return Chosen(self.name, None)
        return Chosen(str(version), await self.shelf.get(version))


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Here = Annotated[Parts, Depends(_parts)]
"""The parts of the server that a request came to."""


async def _open(parts: Here) -> Parts:
    if (refusal := parts.backend.closed) is not None:
        raise refusal
    return parts


Open = Annotated[Parts, Depends(_open)]
"""The same, for work that is not begun while nobody takes it, as when the server ends."""
