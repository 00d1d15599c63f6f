"""`/v1/completions`: text completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from softprompt.server.api.authenticated_route import AuthenticatedRoute
from softprompt.server.api.dependencies import RateLimitedPrincipal, ReadyStateDep
from softprompt.server.api.generation_service import RequestInputs, generate_response
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.generation.completion_formatter import CompletionFormatter
from softprompt.server.generation.input_names import attribute_errors_to, list_input_names
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.schemas.completion_schemas import CompletionRequest, CompletionResponse

router = APIRouter(tags=["OpenAI"], route_class=AuthenticatedRoute)


@router.post("/v1/completions", response_model=CompletionResponse)
async def create_completion(
    body: CompletionRequest, principal: RateLimitedPrincipal, state: ReadyStateDep, request: Request
) -> Response | CompletionResponse:
    """Complete texts.

    The base model continues the text itself. A prompt reads the text as in its training: in its template's field, or as
    a user message in a chat.
    """
    names = list_input_names("prompt", len(body.prompt))
    if body.fields is not None:
        names = ["fields"] * len(names)  # the fields fill the template instead of the texts

    def render(loaded_prompt: LoadedPrompt | None, index: int) -> TokenizedPrompt:
        with attribute_errors_to(names[index]):
            return state.prompt_renderer.render_completion(loaded_prompt, body.prompt[index], body.fields)

    inputs = RequestInputs(body.prompt, names, render)
    formatter = CompletionFormatter(state.logprobs_formatter, body.logprobs is not None)
    return await generate_response(state, principal, request, body, inputs, formatter)
