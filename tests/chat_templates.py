"""Chat templates that differ in where a system message is, and models with them."""

from __future__ import annotations

import copy

from softprompt.model import CausalModel
from tests.tiny import BOS, EOS, shared_model

_TURNS = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}" + EOS + "\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)

#: As Qwen 2.5: a system turn, with a default text if there is none.
WITH_DEFAULT_SYSTEM = "{% if messages[0]['role'] != 'system' %}[system] You are fun." + EOS + "\n{% endif %}" + _TURNS

#: As Llama 3: writes BOS, and strips white space around each message.
WITH_BOS = BOS + _TURNS.replace("['content']", "['content'] | trim")

#: As Gemma 3: no system turn; its text precedes the user's first message.
FOLDED = (
    "{% set system = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}"
    "{% set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    "{% for message in turns %}[{{ message['role'] }}] {{ system if loop.first }}{{ message['content'] | trim }}"
    + EOS
    + "\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)

#: As Gemma 1 and 2: rejects a system message.
WITHOUT_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + _TURNS
)

#: As early templates: drops a system message.
DROPPING_SYSTEM = _TURNS.replace(
    "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
)

#: As Mistral 7B v0.3: the text of a system message precedes the user's last message.
SYSTEM_IN_LAST_TURN = (
    "{% set system = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}"
    "{% set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    "{% for message in turns %}[{{ message['role'] }}] {{ system if loop.last }}{{ message['content'] }}"
    + EOS
    + "\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)

#: Templates that render a system message in front of all others, by name.
SYSTEM_TEMPLATES = {"default-system": WITH_DEFAULT_SYSTEM, "bos": WITH_BOS, "folded": FOLDED, "plain": _TURNS}

#: Templates without a place for a system message in front of all others, by name.
OTHER_TEMPLATES = {
    "no-system": WITHOUT_SYSTEM,
    "dropped-system": DROPPING_SYSTEM,
    "system-in-last-turn": SYSTEM_IN_LAST_TURN,
}


def chat_model(template: str | None, family: str = "qwen2") -> CausalModel:
    """Make a tiny model with this chat template; its weights are shared."""
    model = copy.copy(shared_model(family))
    assert isinstance(model, CausalModel)
    model.prompt_tokenizer = model.prompt_tokenizer.clone()
    model.tokenizer.chat_template = template
    return model
