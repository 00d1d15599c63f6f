"""Self-study: the model writes the inputs that its prefix learns a document from (Cartridges, arXiv 2506.06266).

Most inputs are questions that the model writes about a passage, at a high temperature; the teacher, which reads the
whole document, answers them. The others ask for summaries of a passage, or for the passage itself, whose answer is
known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle, islice

from softprompt.distillation.context import Context, encode_text
from softprompt.distillation.distill_task import DistillableTask
from softprompt.distillation.document_passages import split_passages
from softprompt.distillation.study_prompts import StudyPrompts, select_study_prompts
from softprompt.evaluation.text_generation import generate_texts
from softprompt.model import CausalModel
from softprompt.sampling import SamplingParams
from softprompt.tasks import ChatTask, EncodedExample
from softprompt.tasks.chat_task import ChatObjective
from softprompt.tasks.templates.answer_text import is_wide_character

logger = logging.getLogger(__name__)

MAX_PASSAGE_TOKENS = 200
MAX_QUESTION_TOKENS = 48
OPENING_LENGTH = 40  # characters of a passage that name it
LINE_MARKS = "#*->| \t"  # of headings, lists, quotations and tables
QUESTION_MARKS = ("?", "？")
REPETITION_SHARE, SUMMARY_SHARE = 0.15, 0.1  # of all inputs
QUESTION_SAMPLING = SamplingParams(MAX_QUESTION_TOKENS, temperature=0.9, top_p=0.95, stop=("\n",))


@dataclass(frozen=True)
class StudyInput:
    """Input about a document.

    Attributes:
        input: Text of the input.
        output: Known answer; None if the teacher answers.
    """

    input: str
    output: str | None = None


class SelfStudy:
    """Writer of inputs about one document.

    Args:
        model: model that writes the questions.
        task: task of the inputs.
        document: text of the document.
        max_passage_tokens: maximum length of a passage that is repeated, in tokens.
    """

    def __init__(
        self, model: CausalModel, task: DistillableTask, document: str, max_passage_tokens: int = MAX_PASSAGE_TOKENS
    ):
        self.model, self.task, self.max_passage_tokens = model, task, max_passage_tokens
        self.prompts: StudyPrompts = select_study_prompts(document)
        self.passages = split_passages(document, max_passage_tokens, self._count_tokens)

    def _count_tokens(self, text: str) -> int:
        return len(self.model.prompt_tokenizer.tokenize(text))

    def write_inputs(
        self, num_inputs: int, seed: int, on_progress: Callable[[int], None] | None = None
    ) -> list[StudyInput]:
        """Write inputs about all passages, each about as often as the others. Equal ones are kept once.

        Args:
            num_inputs: number of inputs to write.
            seed: seed of the sampled questions.
            on_progress: called with the number of written questions.
        """
        num_repetitions = max(len(self.passages), round(REPETITION_SHARE * num_inputs))
        num_summaries = round(SUMMARY_SHARE * num_inputs)
        fixed = [*self._request_repetitions(num_repetitions), *self._request_summaries(num_summaries)]
        questions = self._write_questions(max(1, num_inputs - len(fixed)), seed, on_progress)
        return list(dict.fromkeys([*questions, *fixed]))

    def _request_repetitions(self, count: int) -> list[StudyInput]:
        """Request the passages themselves, except single sentences that are too long."""
        short = [passage for passage in self.passages if self._count_tokens(passage) <= self.max_passage_tokens]
        return [
            StudyInput(self.prompts.repetition_request.format(opening=_get_opening(passage)), passage)
            for passage in islice(cycle(short), count)
        ]

    def _request_summaries(self, count: int) -> list[StudyInput]:
        pairs = zip(cycle(self.passages), cycle(self.prompts.summary_requests), strict=False)
        return [StudyInput(request.format(opening=_get_opening(passage))) for passage, request in islice(pairs, count)]

    def _write_questions(self, count: int, seed: int, on_progress: Callable[[int], None] | None) -> list[StudyInput]:
        contexts = [Context.from_token_ids(encode_text(p, self.task, self.model), self.model) for p in self.passages]
        indices = [i % len(contexts) for i in range(count)]
        openings = [
            self.prompts.question_openings[i // len(contexts) % len(self.prompts.question_openings)]
            for i in range(count)
        ]
        requests = {opening: self._encode_opening(opening) for opening in set(openings)}
        texts = generate_texts(
            self.model,
            [requests[opening] for opening in openings],
            [contexts[i].prefix for i in indices],
            replace(QUESTION_SAMPLING, seed=seed * count),
            on_progress=on_progress,
        )
        written = [_join_words(opening, text) for opening, text in zip(openings, texts, strict=True)]
        questions = [StudyInput(text) for text in written if text.endswith(QUESTION_MARKS)]
        if not questions:
            logger.warning(
                "none of the %d texts that the model wrote as questions ends with a question mark, for example %r: the "
                "virtual tokens learn from repeated passages and summaries alone: pass `questions`, or choose a model "
                "that writes questions",
                count,
                written[0],
            )
        return questions

    def _encode_opening(self, opening: str) -> EncodedExample:
        """Encode a request for a question with its first words, which the model continues."""
        if not isinstance(self.task, ChatTask):
            return EncodedExample(self.model.prompt_tokenizer.encode_text(f"{self.prompts.question_label} {opening}"))
        objective = self.task.build_objective(self.model, self.model.shape.window)
        assert isinstance(objective, ChatObjective)
        example = objective.build_example(self.prompts.question_request)
        request = objective.encode_prompt(example, MAX_QUESTION_TOKENS)
        return EncodedExample([*request.prompt_ids, *self.model.prompt_tokenizer.tokenize(opening)])


def _join_words(first: str, rest: str) -> str:
    """Join parts of a question by a space, unless the script has none between words."""
    return f"{first}{rest}" if is_wide_character(rest[:1]) else f"{first} {rest}"


def _get_opening(passage: str) -> str:
    """Return the first words of a passage, without the marks of a heading, if it has any words."""
    lines = (line.strip(LINE_MARKS) for line in passage.splitlines())
    line = next(filter(None, lines), passage.strip())
    return line if len(line) <= OPENING_LENGTH else line[:OPENING_LENGTH].rpartition(" ")[0] or line[:OPENING_LENGTH]
