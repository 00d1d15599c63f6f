"""What a user could do instead of distilling a text: use all of it, cut it, or let the model summarize it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from softprompt.distillation.context import Context, encode_truncated_source, encode_truncated_text
from softprompt.distillation.distill_setup import DistillSetup
from softprompt.distillation.reference_objective import compile_empty_text
from softprompt.distillation.source_text import SourceKind
from softprompt.distillation.study_prompts import select_study_prompts
from softprompt.evaluation.text_generation import generate_texts
from softprompt.model import KVPrefix
from softprompt.sampling import SamplingParams
from softprompt.tasks import EncodedExample
from softprompt.tasks.chat_task import ChatObjective

NO_PROMPT, WHOLE_TEXT = "no prompt", "whole text"
CUT_TEXT, SUMMARY = "text cut to this length", "summary by the model"


@dataclass(frozen=True)
class Alternative:
    """A way to prepare the model for the inputs.

    Attributes:
        name: Name in the report.
        prefix: Keys and values before each input; None for none.
        token_ids: Token ids that each request repeats before its input; empty for virtual tokens.
        metrics: Metrics on the validation inputs, if they are known; None to measure them.
    """

    name: str
    prefix: KVPrefix | None
    token_ids: Sequence[int] = ()
    metrics: Mapping[str, float] | None = None

    @property
    def num_request_tokens(self) -> int:
        """Number of tokens that each request repeats, without BOS."""
        return self.prefix.num_virtual_tokens if self.token_ids and self.prefix is not None else 0


def build_alternatives(setup: DistillSetup, num_virtual_tokens: int) -> list[Alternative]:
    """Build the alternatives to a distilled prefix: no prompt, the whole text, the cut text, and a summary of it.

    Args:
        setup: Setup of the run.
        num_virtual_tokens: Number of tokens that a shorter text may have.
    """
    alternatives = [
        Alternative(NO_PROMPT, compile_empty_text(setup)),
        Alternative(WHOLE_TEXT, setup.context.prefix, setup.context.token_ids),
    ]
    max_length = num_virtual_tokens + setup.context.prefix.has_bos
    shorter = {CUT_TEXT: encode_truncated_source(setup.source, setup.task, setup.model, max_length)}
    if setup.source.kind is not SourceKind.EXAMPLES:
        summary = _summarize(setup, num_virtual_tokens)
        shorter[SUMMARY] = encode_truncated_text(summary, setup.task, setup.model, max_length)
    alternatives += [
        Alternative(name, Context.from_token_ids(token_ids, setup.model).prefix, token_ids)
        for name, token_ids in shorter.items()
        if token_ids
    ]
    return alternatives


def _summarize(setup: DistillSetup, max_tokens: int) -> str:
    """Let the model summarize the text; a model without a chat template continues the word for a summary."""
    prompts = select_study_prompts(setup.source.text)
    if isinstance(setup.objective, ChatObjective):
        request = setup.objective.build_example(prompts.summary_instruction)
        example = setup.objective.encode_prompt(request, max_tokens)
    else:
        example = EncodedExample(setup.model.prompt_tokenizer.encode_text(prompts.summary_label))
    return generate_texts(setup.model, [example], [setup.context.prefix], SamplingParams(max_tokens))[0]
