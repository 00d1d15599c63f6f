"""Read data files into examples. This package knows no model and no task."""

from softprompt.data.example import Example
from softprompt.data.example_dataset import ExampleDataset
from softprompt.data.example_reader import read_examples
from softprompt.data.formats.record_formats import FORMATS, RecordFormat

__all__ = ["FORMATS", "Example", "ExampleDataset", "RecordFormat", "read_examples"]
