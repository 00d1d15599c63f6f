"""What is asked of the model: which text it sees, where it is read, and what is right. Knows no soft prompt."""

from softprompt.tasks.chat import ChatTask
from softprompt.tasks.classification import ClassificationTask
from softprompt.tasks.demonstrations import Demonstrations
from softprompt.tasks.extraction import ExtractionTask
from softprompt.tasks.generation import GenerationTask
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Batch, Objective, Row
from softprompt.tasks.supervision import with_answers, with_answers_each
from softprompt.tasks.tagging import TaggingTask
from softprompt.tasks.task import Task

__all__ = [
    "Batch",
    "ChatTask",
    "ClassificationTask",
    "Demonstrations",
    "ExtractionTask",
    "GenerationTask",
    "LinearHead",
    "Objective",
    "Row",
    "TaggingTask",
    "Task",
    "with_answers",
    "with_answers_each",
]
