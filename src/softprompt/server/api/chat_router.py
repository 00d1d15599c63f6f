"""`/v1/chat/completions`: chat completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from softprompt.server.api.authenticated_route import AuthenticatedRoute
from softprompt.server.api.dependencies import RateLimitedPrincipal, ReadyStateDep
from softprompt.server.api.generation_service import RequestInputs, generate_response
from softprompt.server.backends.loaded_prompt import LoadedPrompt
from softprompt.server.generation.chat_formatter import ChatFormatter
from softprompt.server.generation.input_names import attribute_errors_to
from softprompt.server.generation.tokenized_prompt import TokenizedPrompt
from softprompt.server.schemas.chat_schemas import ChatCompletionRequest, ChatCompletionResponse

router = APIRouter(tags=["OpenAI"], route_class=AuthenticatedRoute)


@router.post("/v1/chat/completions", response_model=ChatCompletionResponse)
async def create_chat_completion(
    body: ChatCompletionRequest, principal: RateLimitedPrincipal, state: ReadyStateDep, request: Request
) -> Response | ChatCompletionResponse:
    """Create the assistant's next message.

    A prompt with a generation task reads only the user's last message, in its own template. A prompt with a chat task,
    and the base model, read all messages in the model's chat template.
    """
    name = "messages" if body.fields is None else "fields"

    def render(loaded_prompt: LoadedPrompt | None, _: int) -> TokenizedPrompt:
        with attribute_errors_to(name):
            messages = [message.to_template_message() for message in body.messages]
            return state.prompt_renderer.render_chat(loaded_prompt, messages, body.fields)

    inputs = RequestInputs([body.messages], [name], render)
    formatter = ChatFormatter(state.logprobs_formatter, body.logprobs)
    return await generate_response(state, principal, request, body, inputs, formatter)
