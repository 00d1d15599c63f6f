"""Conversion of the fields of a request to sampling parameters, within the limits of the server."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from softprompt.engine import SamplingParams
from softprompt.sampling.grammar import CompiledGrammar, GuidanceCompiler
from softprompt.server.generation.context_length import SequenceLength, check_context_lengths
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.request_errors import InvalidRequest
from softprompt.server.schemas.generation_request import (
    GenerationRequest,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
    StructuredOutputs,
)

MAX_TOKEN_ID_DIGITS = 20  # Python rejects very long numbers


def resolve_max_tokens(
    prompts: Sequence[TokenizedPrompt],
    input_names: Sequence[str],
    requested: int | None,
    max_model_len: int,
    server_limit: int | None,
) -> list[int]:
    """Return the maximum number of tokens of the response to each text.

    Args:
        prompts: tokenized texts.
        input_names: names of the texts in the request, for error messages.
        requested: requested maximum; None for the rest of the context.
        max_model_len: maximum positions of a sequence.
        server_limit: the server's maximum tokens of a response; None for no limit.

    Raises:
        ContextLengthExceeded: a text with its response exceeds the context.
        InvalidRequest: the requested maximum exceeds the server's.
    """
    if requested is not None and server_limit is not None and requested > server_limit:
        raise InvalidRequest(f"max_tokens is {requested}: this server allows at most {server_limit}.", "max_tokens")
    limit = max_model_len + 1  # the last token is generated, but never fed back
    prompt_lengths = [prompt.num_positions for prompt in prompts]
    check_context_lengths(
        (
            SequenceLength(name, length, requested or 1, limit)
            for name, length in zip(input_names, prompt_lengths, strict=True)
        ),
        max_model_len,
    )
    return [requested or min(limit - length, server_limit or limit) for length in prompt_lengths]


def to_sampling_params(request: GenerationRequest, vocab_size: int, grammar: CompiledGrammar | None) -> SamplingParams:
    """Convert a request to sampling parameters, except for the maximum length of the response.

    Raises:
        InvalidRequest: `logit_bias` has an invalid token id.
        SettingError: the parameters contradict each other.
    """
    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=max(request.top_k, 0),
        min_p=request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=_parse_logit_bias(request.logit_bias or {}, vocab_size),
        seed=secrets.randbits(62) if request.seed is None else request.seed,
        stop=request.stop or (),
        ignore_eos=request.ignore_eos,
        logprobs=request.num_logprobs,
        grammar=grammar,
    )


def derive_sampling_params(params: SamplingParams, index: int, max_new_tokens: int) -> SamplingParams:
    """Return the sampling parameters of the response with this index."""
    return replace(params.offset_seed(index), max_new_tokens=max_new_tokens)


def compile_grammar(
    constraint: ResponseFormat | StructuredOutputs, compiler: GuidanceCompiler
) -> CompiledGrammar | None:
    """Compile the grammar of a response format; None if the format allows every response.

    Raises:
        SettingError: the schema or the regular expression is not supported.
    """
    match constraint:
        case JsonObjectFormat():
            return compiler.compile_json_schema({"type": "object"})
        case JsonSchemaFormat(json_schema=schema):
            return compiler.compile_json_schema(schema.schema_)
        case StructuredOutputs(json_=schema) if schema is not None:
            return compiler.compile_json_schema(schema)
        case StructuredOutputs(regex=pattern) if pattern is not None:
            return compiler.compile_regex(pattern)
        case StructuredOutputs(choice=texts) if texts is not None:
            return compiler.compile_regex("|".join(map(re.escape, texts)))
    return None


def _parse_logit_bias(logit_bias: Mapping[str, float], vocab_size: int) -> dict[int, float]:
    invalid = [token for token in logit_bias if not _is_token_id(token, vocab_size)]
    if invalid:
        message = (
            f"logit_bias: {invalid[0][:MAX_TOKEN_ID_DIGITS]!r} is not a valid token id "
            f"(expected an integer from 0 to {vocab_size - 1})."
        )
        raise InvalidRequest(message, "logit_bias")
    return {int(token): bias for token, bias in logit_bias.items()}


def _is_token_id(text: str, vocab_size: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_TOKEN_ID_DIGITS and int(text) < vocab_size
