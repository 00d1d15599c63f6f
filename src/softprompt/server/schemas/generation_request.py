"""Fields that requests for chat completions and completions share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from softprompt.server.schemas.field_types import IgnoredField, Seed, StopStrings, StrictModel, UnicodeText

MAX_LOGIT_BIASES = 1024


class StreamOptions(StrictModel):
    """The options of a stream.

    Attributes:
        include_usage: whether the last chunk has the usage and no choices.
        include_obfuscation: ignored: streams are never padded.
    """

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(StrictModel):
    """A named JSON schema."""

    name: UnicodeText
    schema_: dict[str, Any] = Field(default_factory=lambda: {"type": "object"}, alias="schema")
    description: UnicodeText | None = None
    strict: bool | None = None


class TextFormat(StrictModel):
    """The response format without constraints."""

    type: Literal["text"]


class JsonObjectFormat(StrictModel):
    """The response format of any JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(StrictModel):
    """The response format of JSON that a schema allows."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StructuredOutputs(StrictModel):
    """The response format in vLLM's API: exactly one of the fields.

    Attributes:
        regex: regular expression that the whole response matches.
        choice: texts, one of which is the response.
        json_: JSON schema that the response follows.
    """

    regex: UnicodeText | None = None
    choice: Annotated[list[UnicodeText], Field(min_length=1)] | None = None
    json_: dict[str, Any] | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _check_single_constraint(self) -> StructuredOutputs:
        if len(self.model_fields_set) != 1:
            raise ValueError("set exactly one of 'regex', 'choice' and 'json'")
        return self


class GenerationRequest(StrictModel):
    """A request for generated text.

    Attributes:
        model: prompt of the tenant (`reviews`, `reviews@3`, `reviews@canary`), or the base model's name.
        n: number of responses to each text; response i has the seed plus i.
        top_p: probability mass to sample from; 0 takes the most probable token.
        stop: stop strings, before which a response ends; empty strings are ignored.
        fields: values of the template's fields, instead of one text.
    """

    model: UnicodeText
    fields: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] = 1.0
    logit_bias: (
        Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MAX_LOGIT_BIASES)] | None
    ) = None
    seed: Seed | None = None
    stop: StopStrings | None = None
    ignore_eos: bool = False
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: IgnoredField = None
    metadata: IgnoredField = None
    store: IgnoredField = None
    service_tier: IgnoredField = None
    safety_identifier: IgnoredField = None
    prompt_cache_key: IgnoredField = None
    prompt_cache_retention: IgnoredField = None

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        """Drop parameters that are null, as OpenAI's API does."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _check_combinations(self) -> GenerationRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("the 'stream_options' parameter is only allowed when 'stream' is enabled")
        if self.structured_outputs is not None and self.response_format is not None:
            raise ValueError("'response_format' and 'structured_outputs' exclude each other: remove one")
        return self

    @property
    def response_constraint(self) -> ResponseFormat | StructuredOutputs | None:
        """Requested response format; None for no constraint."""
        return self.response_format or self.structured_outputs

    @property
    def max_output_tokens(self) -> int | None:
        """Requested maximum tokens of a response."""
        return None

    @property
    def num_logprobs(self) -> int | None:
        """Number of alternatives for each token; None for no log-probabilities."""
        return None
