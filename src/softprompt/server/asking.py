"""How a response is to be written: a request's fields as the engine's sampling, within what the operator allows."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from softprompt.engine import Sampling
from softprompt.engine.grammar import Grammar, Grammars
from softprompt.server.context_length import RowLength, check_lengths
from softprompt.server.desk import Asked
from softprompt.server.protocol.sampling import JsonFormat, ResponseFormat, SchemaFormat, StructuredOutputs, Writing
from softprompt.server.refusal import Refusal

DIGITS = 20  # of a token's number; longer ones Python refuses to read


def response_lengths(
    asked: Sequence[Asked], names: Sequence[str], wanted: int | None, length: int, longest: int | None
) -> list[int]:
    """How many tokens the response to each text may have.

    Args:
        asked: what they follow.
        names: of the texts in the request.
        wanted: as many as were asked for; None for as many as there is room for.
        length: positions of a row.
        longest: tokens that the operator allows; None for no less than there is room for.

    Raises:
        Refusal: there is no room for them, or the operator does not allow so many.
    """
    if wanted is not None and longest is not None and wanted > longest:
        raise Refusal(400, f"max_tokens is {wanted}, and this server writes at most {longest}.", param="max_tokens")
    limit = length + 1  # the last token is written and never read
    texts = [each.num_positions for each in asked]
    check_lengths((RowLength(*each, wanted or 1, limit) for each in zip(names, texts, strict=True)), length)
    return [wanted or min(limit - text, longest or limit) for text in texts]


def sampling_of(request: Writing, vocabulary: int, grammar: Grammar | None) -> Sampling:
    """What a request asks for, but for the length of its response.

    Raises:
        Refusal: a bias for a token that is none.
        SettingError: values that cannot go together.
    """
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=max(request.top_k, 0),
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=_biases(request.logit_bias or {}, vocabulary),
        seed=secrets.randbits(62) if request.seed is None else request.seed,
        stop=request.stop or (),
        ignore_eos=request.ignore_eos,
        logprobs=request.alternatives,
        grammar=grammar,
    )


def nth(sampling: Sampling, index: int, max_new_tokens: int) -> Sampling:
    """The sampling of the i-th of several responses to a text."""
    return replace(sampling, seed=sampling.seed + index, max_new_tokens=max_new_tokens)


def grammar_of(form: ResponseFormat | StructuredOutputs, grammars: Grammars) -> Grammar | None:
    """The form that a response is to have; None for any.

    Raises:
        SettingError: the schema or the expression cannot be used.
    """
    match form:
        case JsonFormat():
            return grammars.json_schema({"type": "object"})
        case SchemaFormat(json_schema=schema):
            return grammars.json_schema(schema.schema_)
        case StructuredOutputs(json_=schema) if schema is not None:
            return grammars.json_schema(schema)
        case StructuredOutputs(regex=pattern) if pattern is not None:
            return grammars.regex(pattern)
        case StructuredOutputs(choice=texts) if texts is not None:
            return grammars.regex("|".join(map(re.escape, texts)))
    return None


def _biases(given: Mapping[str, float], vocabulary: int) -> dict[int, float]:
    wrong = [token for token in given if not _is_token(token, vocabulary)]
    if wrong:
        message = f"{wrong[0][:DIGITS]!r} is no token: they are numbers from 0 to {vocabulary - 1}."
        raise Refusal(400, message, param="logit_bias")
    return {int(token): bias for token, bias in given.items()}


def _is_token(text: str, vocabulary: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= DIGITS and int(text) < vocabulary
