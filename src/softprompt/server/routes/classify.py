"""`/v1/classify`: labels for texts, by a prompt that was trained to tell them."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request

from softprompt.evaluation import Prediction
from softprompt.server.caller import Admitted
from softprompt.server.context_length import RowLength, check_lengths
from softprompt.server.desk import divide_texts
from softprompt.server.failures import overflowing
from softprompt.server.input_names import input_names
from softprompt.server.keyed_route import KeyedRoute
from softprompt.server.parts import Open, Parts
from softprompt.server.protocol.classify import Classified, ClassifyRequest, ClassifyResponse, ReadUsage
from softprompt.server.refusal import Refusal
from softprompt.server.responses import unless_gone
from softprompt.server.shelved import Shelved
from softprompt.tasks import Row
from softprompt.tasks.classification import ClassificationObjective

router = APIRouter(tags=["softprompt"], route_class=KeyedRoute)


@router.post("/v1/classify")
async def classify(body: ClassifyRequest, caller: Admitted, parts: Open, request: Request) -> ClassifyResponse:
    """Tell the label of a text, or of several, and the probability of every label."""
    if len(body.input) > parts.settings.most_inputs:
        message = f"{len(body.input)} texts in one request: send {parts.settings.most_inputs} at most."
        raise Refusal(400, message, param="input")
    caller.count_rows(len(body.input))
    version = await parts.resolve(body.model, caller.tenant)
    if version is None:
        raise Refusal(400, "The base model tells no labels: name a prompt whose task is classification.", param="model")
    shelved = await parts.shelf.get(version)
    rows = await _read(parts, caller.tenant, shelved, body.input)
    told = await unless_gone(request, parts.backend.label(shelved, rows, caller.tenant))
    if not all(math.isfinite(value) for each in told for value in each):
        raise overflowing(str(version))
    predictions = [Prediction.of("", shelved.task.labels, each) for each in told]
    read = sum(len(row) for row in rows)
    parts.metrics.tokens(caller.tenant, read=read)
    parts.tally.of(caller.tenant, str(version)).request(read)
    return ClassifyResponse(
        id=f"classify-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=str(version),
        data=[
            Classified(index=i, label=each.label, probabilities=each.probabilities)
            for i, each in enumerate(predictions)
        ],
        usage=ReadUsage(prompt_tokens=read, total_tokens=read),
    )


async def _read(parts: Parts, tenant: str, shelved: Shelved, texts: Sequence[str | Mapping[str, Any]]) -> list[Row]:
    """The texts in tokens; once one is too long, no more are read.

    Raises:
        Refusal: a text is too long, or does not fill the template.
    """
    names, rows = input_names("input", len(texts)), list[Row]()
    for chosen in divide_texts(texts):
        some, named = texts[chosen.start : chosen.stop], names[chosen.start : chosen.stop]
        read = await parts.desk.do(tenant, partial(parts.desk.labelled, shelved, some, named))
        _check_lengths(named, read, shelved, parts.length)
        rows += read
    return rows


def _check_lengths(names: Sequence[str], rows: Sequence[Row], shelved: Shelved, length: int) -> None:
    answer, positions = _objective(shelved).reader.extra_tokens, shelved.payload.num_positions
    named = zip(names, rows, strict=True)
    check_lengths((RowLength(name, positions + len(row), answer, length) for name, row in named), length)


def _objective(shelved: Shelved) -> ClassificationObjective:
    assert isinstance(shelved.objective, ClassificationObjective)  # the desk saw to it
    return shelved.objective
