"""From examples to a saved prompt. Knows no engine; what it makes is used elsewhere."""

from softprompt.training.settings import TuneSettings
from softprompt.training.tuning import Tuned, run, tune
from softprompt.training.watching import Evaluated, Stepped, Watcher

__all__ = ["Evaluated", "Stepped", "TuneSettings", "Tuned", "Watcher", "run", "tune"]
