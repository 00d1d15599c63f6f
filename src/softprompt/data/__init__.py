"""Files in, examples out. Knows no model and no task."""

from softprompt.data.example import Example
from softprompt.data.examples import Examples
from softprompt.data.formats import FORMATS, Format
from softprompt.data.reading import read_examples

__all__ = ["FORMATS", "Example", "Examples", "Format", "read_examples"]
