"""How a response is to be written: what chats and completions have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from softprompt.server.protocol.fields import Body, Ignored, Seed, Stop, Text

MOST_BIASES = 1024


class StreamOptions(Body):
    """Of a stream.

    Attributes:
        include_usage: end with a chunk that has the usage and no choices.
        include_obfuscation: there is none.
    """

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(Body):
    """A schema with a name."""

    name: Text
    schema_: dict[str, Any] = Field(default_factory=lambda: {"type": "object"}, alias="schema")
    description: Text | None = None
    strict: bool | None = None


class TextFormat(Body):
    """Whatever the model writes."""

    type: Literal["text"]


class JsonFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Body):
    """JSON that a schema allows."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


class StructuredOutputs(Body):
    """The form of a response in vLLM's words; one of them.

    Attributes:
        regex: what it matches from its beginning to its end.
        choice: it is one of these.
        json_: a JSON schema.
    """

    regex: Text | None = None
    choice: Annotated[list[Text], Field(min_length=1)] | None = None
    json_: dict[str, Any] | None = Field(default=None, alias="json")

    @model_validator(mode="after")
    def _check(self) -> StructuredOutputs:
        if len(self.model_fields_set) != 1:
            raise ValueError("say one of 'regex', 'choice' and 'json'")
        return self


class Writing(Body):
    """What is asked of a response.

    Attributes:
        model: a prompt of the caller's, `reviews`, `reviews@3` or `reviews@canary`, or the base model's name.
        n: responses to each text; the i-th has the seed plus i.
        top_p: 0 takes the most probable token.
        stop: texts before which a response ends; empty ones are none.
        fields: what fills a template with several fields, where one text does not.
    """

    model: Text
    fields: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=128)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, lt=2**31)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] = 1.0
    logit_bias: Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MOST_BIASES)] | None = (
        None
    )
    seed: Seed | None = None
    stop: Stop | None = None
    ignore_eos: bool = False
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, values: Any) -> Any:
        """OpenAI takes null for a parameter as if it had been left out."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _check(self) -> Writing:
        if self.stream_options is not None and not self.stream:
            raise ValueError("the 'stream_options' parameter is only allowed when 'stream' is enabled")
        if self.structured_outputs is not None and self.response_format is not None:
            raise ValueError("'response_format' and 'structured_outputs' both say the form: leave one out")
        return self

    @property
    def form(self) -> ResponseFormat | StructuredOutputs | None:
        """What the response is to look like; None for anything."""
        return self.response_format or self.structured_outputs

    @property
    def most_tokens(self) -> int | None:
        """The longest response that is asked for."""
        return None

    @property
    def alternatives(self) -> int | None:
        """How many to tell beside each token; None to tell no probabilities."""
        return None
