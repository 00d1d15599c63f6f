"""Figures of merit, as functions of predictions and truth."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from softprompt.tasks.segmentation import spaced, words


def accuracy(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"]) -> float:
    """The share of predictions that are right."""
    return float((predicted == labels).double().mean())


def confusion(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], num_labels: int) -> Int[Tensor, "K K"]:
    """How often each label (row) was predicted as each (column)."""
    return (labels * num_labels + predicted).bincount(minlength=num_labels**2).view(num_labels, num_labels)


def macro_f1(predicted: Int[Tensor, "N"], labels: Int[Tensor, "N"], num_labels: int) -> float:
    """The mean over the labels of the harmonic mean of precision and recall; absent labels do not count."""
    table = confusion(predicted, labels, num_labels).double()
    right, occurring, foretold = table.diagonal(), table.sum(dim=1), table.sum(dim=0)
    f1 = 2 * right / (occurring + foretold).clamp(min=1)
    return float(f1[(occurring + foretold) > 0].mean())


def is_looping(text: str, repeats: int = 3) -> bool:
    """Whether some words, however many, come `repeats` times in a row: "the the the"."""
    found = words(text)
    return any(_repeats(found, size, repeats) for size in range(1, len(found) // repeats + 1))


def _repeats(found: Sequence[str], size: int, repeats: int) -> bool:
    """Whether some `size` words come `repeats` times in a row: each word is the same as that `size` further on."""
    run, wanted = 0, size * (repeats - 1)
    for word, later in zip(found, found[size:], strict=False):
        run = run + 1 if word == later else 0
        if run >= wanted:
            return True
    return False


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU, 0 to 100, each text against all of its references.

    sacrebleu's, with 13a tokens. Scripts that put no spaces between words count by the character, as its `zh` has
    Chinese. Where all texts are shorter than four words, only the n-grams that they have count (effective order).
    """
    from sacrebleu import corpus_bleu  # half a second to import: only where it is used

    most = max(map(len, references))
    # sacrebleu wants one list a reference number; texts with fewer references repeat their last.
    streams = [[spaced(each[min(i, len(each) - 1)]) for each in references] for i in range(most)]
    score = corpus_bleu(list(map(spaced, texts)), streams, use_effective_order=True).score
    return min(float(score), 100.0)  # the mean of logarithms may end above it


def sentence_bleu(text: str, references: Sequence[str]) -> float:
    """BLEU of one text, 0 to 100, against all of its references; in words or characters as `bleu`."""
    from sacrebleu import sentence_bleu as measured  # half a second to import: only where it is used

    return min(float(measured(spaced(text), list(map(spaced, references))).score), 100.0)
