"""What a user could do instead of distilling a text: shorten it to as many tokens, by cutting or by a summary."""

from __future__ import annotations

from dataclasses import dataclass

from softprompt.distillation.context import Context, encode_few_shot_prompt, encode_text
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.source_text import SourceKind
from softprompt.distillation.study_prompts import select_study_prompts
from softprompt.evaluation.text_generation import generate_texts
from softprompt.model import KVPrefix
from softprompt.sampling import SamplingParams
from softprompt.tasks import ChatTask, EncodedExample
from softprompt.tasks.chat_task import ChatObjective


@dataclass(frozen=True)
class Alternative:
    """Another way to prepare the model for the inputs.

    Attributes:
        name: Name in the report.
        prefix: Keys and values in front of each input; None without any.
        num_request_tokens: Number of tokens that each request repeats.
    """

    name: str
    prefix: KVPrefix | None
    num_request_tokens: int


def build_alternatives(setup: DistillSetup, num_virtual_tokens: int) -> list[Alternative]:
    """Build the alternatives to a distilled prefix: no prompt, the whole text, the cut text, and a summary of it.

    Args:
        setup: Setup of the run.
        num_virtual_tokens: Number of tokens that a shorter text may have.
    """
    alternatives = [
        Alternative("no prompt", None, 0),
        Alternative("whole text", setup.context.prefix, setup.context.num_tokens),
    ]
    shortened = {"text cut to fit": _cut_text(setup, num_virtual_tokens)}
    if setup.source.kind is not SourceKind.EXAMPLES:
        shortened["summary by the model"] = _encode_fitting(setup, _summarize(setup, num_virtual_tokens), num_virtual_tokens)
    for name, token_ids in shortened.items():
        if token_ids is not None:
            context = Context.from_token_ids(token_ids, setup.model)
            alternatives.append(Alternative(name, context.prefix, context.num_tokens))
    return alternatives


def _cut_text(setup: DistillSetup, max_tokens: int) -> list[int] | None:
    """Return the token ids of as much of the text as fits; of examples the first ones. None if nothing fits."""
    if setup.source.kind is not SourceKind.EXAMPLES:
        return _encode_fitting(setup, setup.source.text, max_tokens)
    max_length = max_tokens + setup.context.prefix.has_bos
    for count in range(len(setup.examples) - 1, 0, -1):
        token_ids = encode_few_shot_prompt(setup.examples[:count], setup.task, setup.model)
        if len(token_ids) <= max_length:
            return token_ids
    return None


def _encode_fitting(setup: DistillSetup, text: str, max_tokens: int) -> list[int] | None:
    """Encode as much of a text as fits, from its beginning; None if nothing fits."""
    max_length = max_tokens + setup.context.prefix.has_bos
    words = setup.model.prompt_tokenizer.tokenize(text, split_special_tokens=True)
    for length in range(min(len(words), max_tokens), 0, -1):
        token_ids = encode_text(str(setup.model.tokenizer.decode(words[:length])).rstrip("\ufffd"), setup.task, setup.model)
        if len(token_ids) <= max_length:
            return token_ids
    return None


def _summarize(setup: DistillSetup, max_tokens: int) -> str:
    """Let the model write a summary of the text; a model without a chat template continues `Summary:`."""
    prompts = select_study_prompts(setup.source.text)
    sampling = SamplingParams(max_new_tokens=max_tokens)
    return generate_texts(setup.model, [_encode_summary_request(setup, prompts.summary_request, prompts.summary_label, max_tokens)], [setup.context.prefix], sampling)[0]


def _encode_summary_request(setup: DistillSetup, request: str, label: str, max_tokens: int) -> EncodedExample:
    if isinstance(setup.task, ChatTask):
        assert isinstance(setup.objective, ChatObjective)
        return setup.objective.encode_prompt(setup.objective.build_example(request), max_tokens)
    return EncodedExample(setup.model.prompt_tokenizer.encode_text(label))
