"""Tasks: the text that a model sees, the positions that are read, and the right answer. Knows no soft prompt."""

from softprompt.tasks.answer_filter import filter_answered, filter_answered_splits
from softprompt.tasks.chat_task import ChatTask
from softprompt.tasks.classification_task import ClassificationTask
from softprompt.tasks.collation import Batch
from softprompt.tasks.demonstrations import FewShotContext
from softprompt.tasks.encoded_example import EncodedExample, LabelTarget, ResponseTarget, SpanTarget, TagTargets
from softprompt.tasks.extractive_qa_task import ExtractiveQATask
from softprompt.tasks.generation_task import GenerationTask
from softprompt.tasks.label_scorers.linear_head import LinearHead
from softprompt.tasks.objective import Objective
from softprompt.tasks.task import Task
from softprompt.tasks.token_classification_task import TokenClassificationTask

__all__ = [
    "Batch",
    "ChatTask",
    "ClassificationTask",
    "EncodedExample",
    "ExtractiveQATask",
    "FewShotContext",
    "GenerationTask",
    "LabelTarget",
    "LinearHead",
    "Objective",
    "ResponseTarget",
    "SpanTarget",
    "TagTargets",
    "Task",
    "TokenClassificationTask",
    "filter_answered",
    "filter_answered_splits",
]
