"""`/v1/classify`: labels for texts, by a prompt that was trained to tell them."""

from __future__ import annotations

import time
import uuid
from functools import partial

from fastapi import APIRouter, Request

from softprompt.evaluation import Prediction
from softprompt.evaluation.measuring import row_outputs
from softprompt.server.asking import too_long
from softprompt.server.caller import Admitted
from softprompt.server.parts import Open, Parts
from softprompt.server.protocol.classify import Classified, ClassifyRequest, ClassifyResponse, ReadUsage
from softprompt.server.refusal import Refusal
from softprompt.server.responses import unless_gone
from softprompt.server.shelf import Shelved
from softprompt.tasks import Row
from softprompt.tasks.classification import ClassificationObjective
from softprompt.tasks.passes import cut

ROWS = 16  # in a pass, so that those who write wait for no longer

router = APIRouter(tags=["softprompt"])


@router.post("/v1/classify")
async def classify(body: ClassifyRequest, caller: Admitted, parts: Open, request: Request) -> ClassifyResponse:
    """Tell the label of a text, or of several, and the probability of every label."""
    if len(body.input) > parts.settings.most_inputs:
        message = f"{len(body.input)} texts in one request: send {parts.settings.most_inputs} at most."
        raise Refusal(400, message, param="input")
    version = await parts.resolve(body.model, caller.tenant)
    if version is None:
        raise Refusal(400, "The base model tells no labels: name a prompt whose task is classification.", param="model")
    shelved = await parts.shelf.get(version)
    rows = await parts.desk.do(lambda: parts.desk.labelled(shelved, body.input))
    for row in rows:
        _check_room(row, shelved, parts.length)
    predictions = await unless_gone(request, _predicted(parts, shelved, rows))
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


async def _predicted(parts: Parts, shelved: Shelved, rows: list[Row]) -> list[Prediction]:
    """Pass after pass, other people's steps in between."""
    objective = _objective(shelved)
    found: dict[int, Prediction] = {}
    for chosen in cut([len(row) for row in rows], parts.model, ROWS):
        few = [rows[i] for i in chosen]
        outputs = await parts.worker.run(partial(row_outputs, objective, shelved.payload, few))
        found |= {
            i: Prediction.of("", objective.task.labels, row) for i, row in zip(chosen, outputs.tolist(), strict=True)
        }
    return [found[i] for i in range(len(rows))]


def _check_room(row: Row, shelved: Shelved, length: int) -> None:
    answer = _objective(shelved).reader.extra_tokens
    text = shelved.payload.num_positions + len(row)
    if text + answer > length:
        raise too_long(length, text, answer)


def _objective(shelved: Shelved) -> ClassificationObjective:
    assert isinstance(shelved.objective, ClassificationObjective)  # the desk saw to it
    return shelved.objective
