"""What a prompt is worth on data, and what it says. Knows no method and no training."""

from softprompt.evaluation.evaluating import evaluate
from softprompt.evaluation.extracting import Extraction, extract
from softprompt.evaluation.generating import Sampling, generate, stream
from softprompt.evaluation.measuring import measure
from softprompt.evaluation.predicting import Prediction, classify
from softprompt.evaluation.responding import respond
from softprompt.evaluation.tagging import Tagging, tag

__all__ = [
    "Extraction",
    "Prediction",
    "Sampling",
    "Tagging",
    "classify",
    "evaluate",
    "extract",
    "generate",
    "measure",
    "respond",
    "stream",
    "tag",
]
