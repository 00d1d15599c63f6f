"""Metrics of generated texts."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.tasks.metrics.word_segmentation import space_characters, split_words


def has_repeated_ngram(text: str, min_repeats: int = 3) -> bool:
    """Return whether some n-gram of any size occurs `min_repeats` times in a row, such as "the the the"."""
    words = split_words(text)
    return any(
        _has_repeated_ngram_of_size(words, size, min_repeats) for size in range(1, len(words) // min_repeats + 1)
    )


def _has_repeated_ngram_of_size(tokens: Sequence[str], ngram_size: int, min_repeats: int) -> bool:
    """Return whether some n-gram of `ngram_size` words occurs `min_repeats` times in a row.

    Then a run of words each equals the word `ngram_size` positions later.
    """
    run_length, min_run_length = 0, ngram_size * (min_repeats - 1)
    for word, later in zip(tokens, tokens[ngram_size:], strict=False):
        run_length = run_length + 1 if word == later else 0
        if run_length >= min_run_length:
            return True
    return False


def corpus_bleu_score(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Compute corpus BLEU, 0 to 100, of each text against all of its references.

    The implementation is sacrebleu's with 13a tokens. Scripts without spaces between words count by character, as
    Chinese does with its `zh` tokenizer. If all texts are shorter than four words, only existing n-gram sizes count
    (effective order).
    """
    from sacrebleu import corpus_bleu  # half a second to import: only where it is used

    max_references = max(map(len, references))
    # sacrebleu expects one list per reference index; texts with fewer references repeat their last one.
    streams = [
        [space_characters(text_references[min(i, len(text_references) - 1)]) for text_references in references]
        for i in range(max_references)
    ]
    score = corpus_bleu(list(map(space_characters, texts)), streams, use_effective_order=True).score
    return min(float(score), 100.0)  # rounding in the mean of logarithms can exceed 100


def sentence_bleu_score(text: str, references: Sequence[str]) -> float:
    """Compute BLEU, 0 to 100, of one text against all of its references, tokenized as in `corpus_bleu_score`."""
    from sacrebleu import sentence_bleu  # half a second to import: only where it is used

    return min(float(sentence_bleu(space_characters(text), list(map(space_characters, references))).score), 100.0)
