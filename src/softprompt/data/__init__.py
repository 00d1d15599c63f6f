"""Files in, examples out. Knows no model and no task."""

from softprompt.data.example import Example
from softprompt.data.reading import read_examples

__all__ = ["Example", "read_examples"]
