"""What is asked of the model: which text it sees, where it is read, and what is right. Knows no soft prompt."""

from softprompt.tasks.classification import ClassificationTask
from softprompt.tasks.generation import GenerationTask
from softprompt.tasks.linear_head import LinearHead
from softprompt.tasks.objective import Batch, Objective, Row
from softprompt.tasks.task import Task

__all__ = ["Batch", "ClassificationTask", "GenerationTask", "LinearHead", "Objective", "Row", "Task"]
