"""Which way to adapt a model: each is run on the same data, and a report says what that showed."""

from softprompt.comparison.bench import Bench
from softprompt.comparison.comparing import compare, run
from softprompt.comparison.settings import CompareSettings
from softprompt.comparison.way import Course, Fitted, Kind, Measured, Serving, Trial, Way

__all__ = [
    "Bench",
    "CompareSettings",
    "Course",
    "Fitted",
    "Kind",
    "Measured",
    "Serving",
    "Trial",
    "Way",
    "compare",
    "run",
]
