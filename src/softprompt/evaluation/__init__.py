"""Evaluation of prompts, and inference with them. Independent of tuning methods and training."""

from softprompt.evaluation.batch_inference import compute_metrics
from softprompt.evaluation.classify import LabelPrediction, classify
from softprompt.evaluation.evaluate import evaluate
from softprompt.evaluation.extract import ExtractedAnswer, extract
from softprompt.evaluation.respond import respond
from softprompt.evaluation.tag import TaggedWords, tag
from softprompt.evaluation.text_generation import generate_texts, stream_text
from softprompt.sampling import SamplingParams

__all__ = [
    "ExtractedAnswer",
    "LabelPrediction",
    "SamplingParams",
    "TaggedWords",
    "classify",
    "compute_metrics",
    "evaluate",
    "extract",
    "generate_texts",
    "respond",
    "stream_text",
    "tag",
]
